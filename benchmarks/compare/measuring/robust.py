"""What candidates make of pictures as they should not be: accuracy, and confidence in nonsense.

Confidence is here the largest probability of the answer, whatever score a route decides by, so that
all are held to the same. An unrelated picture is of none of the classes: every confident answer to
it is wrong. Of the gated converter it is also measured how many unrelated pictures it stops at its
own stage.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.compare.measuring.accuracy import BATCH_ROWS, share_right
from benchmarks.compare.measuring.candidates import Candidate
from benchmarks.compare.measuring.corruptions import corrupt, gather_unrelated
from benchmarks.compare.measuring.kept import identify
from harness.load.traffic import Labels, Pictures
from harness.results import Sample
from harness.stage_time import StageRun, run_stages
from training.data.sets import DataSet

CONFIDENT = 0.9
GATED, CONVERT = "cbnet-gated", 1  # the place of its converting stage
SEED = 7


@dataclass(frozen=True, slots=True)
class Trials:
    """The same pictures for every candidate."""

    identity: str  # of these and of the whole test set
    labels: Labels
    corrupted: Mapping[str, Pictures]
    unrelated: Mapping[str, Pictures]


def make_trials(data: DataSet, rows: int) -> Trials:
    """Raises ValueError where the other data set, whose pictures are unrelated, is missing."""
    pictures, labels = data.test.pictures[:rows], data.test.labels[:rows]
    corrupted = corrupt(pictures, SEED)
    unrelated = gather_unrelated(data.name, rows, SEED)
    sets = {**corrupted, **unrelated}.items()
    parts = (part for name, these in sets for part in (name, these.tobytes()))
    identity = identify(data.identity, len(data.test.labels), *parts)
    return Trials(identity, labels, corrupted, unrelated)


def measure_robustness(candidate: Candidate, trials: Trials) -> Iterator[Sample]:
    """One value a seed of everything."""
    facts: dict[str, float] = {"trial_rows": len(trials.labels)}
    for name, pictures in trials.corrupted.items():
        run = run_stages(candidate.pipeline, pictures, BATCH_ROWS)
        facts[f"corrupt_{name}"] = share_right(run, trials.labels)
    for name, pictures in trials.unrelated.items():
        run = run_stages(candidate.pipeline, pictures, BATCH_ROWS)
        confident = read_confidences(run) >= CONFIDENT
        facts[f"strange_{name}"] = float(confident.mean())
        if candidate.name == GATED:
            stopped = np.array(run.ends) == list(candidate.pipeline.stages)[CONVERT]
            facts[f"converted_{name}"] = float(stopped.mean())
            facts[f"converted_confident_{name}"] = float((stopped & confident).mean())
    for metric, value in facts.items():
        yield Sample(candidate.name, candidate.seed, metric, value)


def read_confidences(run: StageRun) -> npt.NDArray[np.float64]:
    """The largest probability of each answer; 0 for a row that failed."""
    return np.array(
        [
            0.0 if outcome is None else float(outcome.outputs["probabilities"].max())
            for outcome in run.outcomes
        ]
    )
