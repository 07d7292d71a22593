"""What a candidate answers, replayed in this process: accuracy, MACs and where its rows end.

A stage's answers do not depend on its batch nor on who runs it, so a replay tells what the server
would say; `compare_time` holds the two together. Stages are counted in the order they are run.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks.compare.measuring.candidates import Candidate
from harness.load.traffic import Labels
from harness.results import Sample
from harness.stage_time import StageRun, run_stages
from training.data.sets import DataSet

BATCH_ROWS = 64


def measure_accuracy(candidate: Candidate, data: DataSet) -> Iterator[Sample]:
    """One value a seed of everything; accuracy on held-out pictures too, to choose by."""
    run = run_stages(candidate.pipeline, data.test.pictures, BATCH_ROWS)
    held_out = run_stages(candidate.pipeline, data.held_out.pictures, BATCH_ROWS)
    rows = len(data.test.labels)
    facts = {
        "accuracy": share_right(run, data.test.labels),
        "held_out_accuracy": share_right(held_out, data.held_out.labels),
        "macs": sum(run.macs.values()) / rows,
        "rows": rows,
    }
    if "epochs" in (made := candidate.route.manifest.provenance):
        facts["epochs"] = float(made["epochs"])  # that each of its nets learnt for
    for metric, value in (facts | describe_ends(candidate, run, data.test.labels)).items():
        yield Sample(candidate.name, candidate.seed, metric, value)


def share_right(run: StageRun, labels: Labels) -> float:
    return float((run.labels == labels).mean())


def describe_ends(candidate: Candidate, run: StageRun, labels: Labels) -> dict[str, float]:
    """Of each stage the share of rows that end there, and how often those are right."""
    facts: dict[str, float] = {}
    ends = np.array(run.ends)
    for index, stage in enumerate(candidate.pipeline.stages):
        here = ends == stage
        facts[f"ended_{index}"] = float(here.mean())
        if here.any():
            facts[f"right_{index}"] = float((run.labels == labels)[here].mean())
    return facts
