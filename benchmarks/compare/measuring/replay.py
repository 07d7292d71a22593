"""What candidates answer, replayed in this process: right or wrong, and how confident of nonsense.

A stage's answers do not depend on its batch nor on who runs it, so a replay tells what the server
would say; `times` holds the two together. Stages are counted in the order they are run.

Confidence is here the largest probability of the answer, whatever score a route decides by, so that
all are held to the same. An unrelated picture is of none of the classes: every confident answer to
it is wrong. Of the gated converter it is also measured how many unrelated pictures it stops at its
own stage.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.compare.measuring.candidates import Candidate
from benchmarks.compare.measuring.kept import identify
from core.devices.onnx import OnnxDevice
from harness.load.traffic import Labels, Pictures
from harness.results import Sample
from harness.stage_time import StageRun, run_stages
from studies.converters.corruptions import corrupt
from studies.converters.frozen import frozen_file
from training.data.sets import DataSet, load_data

BATCH_ROWS = 64
CONFIDENT = 0.9
GATED, CONVERT = "cbnet-gated", 1  # the place of its converting stage
SEED = 7
OTHER = {"mnist": "fashion-mnist", "fashion-mnist": "mnist"}  # unrelated to each other
_KMNIST = Path("kmnist") / "t10k-images-idx3-ubyte.gz"
_IDX_HEAD_BYTES = 16


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


def gather_unrelated(data: str, rows: int, seed: int) -> dict[str, Pictures]:
    """Pictures of none of the classes, by where they come from; KMNIST's where $SPARING_DATA has
    them. Raises ValueError where the other data set is missing, or either is damaged.
    """
    found: dict[str, Pictures] = {}
    if other := OTHER.get(data):
        found[other] = load_data(other).test.pictures[:rows]
    kmnist = Path(os.environ.get("SPARING_DATA", "")) / _KMNIST
    if kmnist.is_file():
        found["kmnist"] = _read_kmnist(kmnist)[:rows]
    noise = np.random.default_rng(seed).integers(0, 256, (rows, 28, 28), dtype=np.uint8)
    return found | {"noise": noise}


def _read_kmnist(path: Path) -> Pictures:
    try:
        raw = gzip.decompress(path.read_bytes())
        return np.frombuffer(raw, np.uint8, offset=_IDX_HEAD_BYTES).reshape(-1, 28, 28)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path} is damaged, load it again or delete it: {error}") from error


def measure_accuracy(candidate: Candidate, data: DataSet) -> Iterator[Sample]:
    """One value a seed of everything; accuracy on held-out pictures too, to choose by. Of each
    stage the share of rows that end there, and how often those are right.
    """
    run = run_stages(candidate.pipeline, data.test.pictures, BATCH_ROWS)
    held_out = run_stages(candidate.pipeline, data.held_out.pictures, BATCH_ROWS)
    rows, right, ends = len(data.test.labels), run.labels == data.test.labels, np.array(run.ends)
    facts = {
        "accuracy": float(right.mean()),
        "held_out_accuracy": share_right(held_out, data.held_out.labels),
        "macs": sum(run.macs.values()) / rows,
        "rows": rows,
    }
    if "epochs" in (made := candidate.route.manifest.provenance):
        facts["epochs"] = float(made["epochs"])  # of each of its nets
    for index, stage in enumerate(candidate.pipeline.stages):
        facts[f"ended_{index}"] = float((ends == stage).mean())
        if stage in run.ends:
            facts[f"right_{index}"] = float(right[ends == stage].mean())
    for metric, value in facts.items():
        yield Sample(candidate.name, candidate.seed, metric, value)


def share_right(run: StageRun, labels: Labels) -> float:
    return float((run.labels == labels).mean())


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


def measure_frozen(
    folder: Path, data: DataSet, seed: int, variant: str, trials: Trials
) -> Iterator[Sample]:
    """Accuracy of a way to live with a frozen classifier, on clean and on corrupted pictures."""
    path = frozen_file(folder, variant)
    facts = {
        "accuracy": _share_right(path, data.test.pictures, data.test.labels),
        "macs": float(json.loads(path.with_suffix(".json").read_text())["macs"]),
    }
    for name, pictures in trials.corrupted.items():
        facts[f"corrupt_{name}"] = _share_right(path, pictures, trials.labels)
    for metric, value in facts.items():
        yield Sample(variant, seed, metric, value)


def _share_right(path: Path, pictures: Pictures, labels: Labels) -> float:
    session = OnnxDevice().open(path)
    answers = [
        session.run(["logits"], {"image": pictures[at : at + BATCH_ROWS]})[0].argmax(axis=1)
        for at in range(0, len(pictures), BATCH_ROWS)
    ]
    return float((np.concatenate(answers) == labels).mean())
