"""What contestants make of pictures as they should not be: accuracy, and confidence in nonsense.

Confidence is here the largest probability of the answer, whatever score a route decides by, so that
all are held to the same. A stranger is a picture of none of the classes: every confident answer to
it is wrong. Of the gated converter it is also told how many strangers it stops at its own stage.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.compare_accuracy import BATCH_ROWS, share_right
from benchmarks.contestants import Contestant
from benchmarks.corruptions import corrupt, gather_strangers
from benchmarks.kept import identify
from benchmarks.results import Sample
from benchmarks.stage_time import StageRun, run_stages
from benchmarks.traffic import Labels, Pictures
from training.data.sets import DataSet

CONFIDENT = 0.9
GATED, CONVERT = "cbnet-gated", 1  # the place of its converting stage
SEED = 7


@dataclass(frozen=True, slots=True)
class Trials:
    """The same pictures for every contestant."""

    identity: str  # of these and of the whole test set
    labels: Labels
    corrupted: Mapping[str, Pictures]
    strangers: Mapping[str, Pictures]


def make_trials(data: DataSet, rows: int) -> Trials:
    """Raises ValueError where the other data set, whose pictures are strangers, is missing."""
    pictures, labels = data.test.pictures[:rows], data.test.labels[:rows]
    corrupted = corrupt(pictures, SEED)
    strangers = gather_strangers(data.name, rows, SEED)
    sets = {**corrupted, **strangers}.items()
    parts = (part for name, these in sets for part in (name, these.tobytes()))
    identity = identify(data.identity, len(data.test.labels), *parts)
    return Trials(identity, labels, corrupted, strangers)


def measure_robustness(contestant: Contestant, trials: Trials) -> Iterator[Sample]:
    """One value a seed of everything."""
    facts: dict[str, float] = {"trial_rows": len(trials.labels)}
    for name, pictures in trials.corrupted.items():
        run = run_stages(contestant.pipeline, pictures, BATCH_ROWS)
        facts[f"corrupt_{name}"] = share_right(run, trials.labels)
    for name, pictures in trials.strangers.items():
        run = run_stages(contestant.pipeline, pictures, BATCH_ROWS)
        confident = read_confidences(run) >= CONFIDENT
        facts[f"strange_{name}"] = float(confident.mean())
        if contestant.name == GATED:
            stopped = np.array(run.ends) == list(contestant.pipeline.stages)[CONVERT]
            facts[f"converted_{name}"] = float(stopped.mean())
            facts[f"converted_confident_{name}"] = float((stopped & confident).mean())
    for metric, value in facts.items():
        yield Sample(contestant.name, contestant.seed, metric, value)


def read_confidences(run: StageRun) -> npt.NDArray[np.float64]:
    """The largest probability of each answer; 0 for a row that failed."""
    return np.array(
        [
            0.0 if outcome is None else float(outcome.outputs["probabilities"].max())
            for outcome in run.outcomes
        ]
    )
