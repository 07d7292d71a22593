"""Turns a net's logits into answers, in the same way for all pipelines that classify.

A stage's `ClassifierHead` calibrates the logits, scores them (`core.classifiers.scores`) and makes
the answers. A row whose logits are not finite fails alone. Each kind of pipeline decides whether
and where a row continues. `core.classifiers.route` opens the files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from core.classifiers.last_stage_entry import LAST_STAGE_ONLY
from core.classifiers.scores import Floats, Score, softmax
from core.columns import Onward, Steps
from core.messages import Batch, Next, Outcomes, Stage

Logits = npt.NDArray[np.float32]  # [N, K]
Bools = npt.NDArray[np.bool_]

S = TypeVar("S", bound=Stage)


def zero_nonfinite(logits: Logits) -> tuple[Logits, Bools]:
    """Replace rows that are not finite by zeros; also return which rows [N] are finite."""
    sound = np.asarray(np.isfinite(logits).all(axis=1))
    return (logits if sound.all() else np.where(sound[:, None], logits, np.float32(0))), sound


def find_below_requested(rows: Batch, confidences: Floats) -> Bools:
    """Find rows [N] that request more confidence than their answer has, or the last stage."""
    least = rows.controls.get("min_confidence")
    if least is None:
        return np.zeros(len(confidences), dtype=np.bool_)
    # NaN, where the row does not set it, compares as False.
    return np.asarray((confidences < least) | (least == LAST_STAGE_ONLY))


def make_outcomes(
    probabilities: npt.NDArray[np.float32],
    confidences: Floats,
    exits: npt.NDArray[np.int64] | int,
    names: Sequence[str],
) -> Outcomes:
    """Make the answers; a row's label is the class with the highest probability."""
    outputs = {"label": probabilities.argmax(axis=1), "probabilities": probabilities}
    return Outcomes(outputs, confidences, exits, names)


@dataclass(frozen=True, slots=True)
class StageScores:
    """Probabilities and scores of a batch of N rows and K classes."""

    probabilities: npt.NDArray[np.float32]  # [N, K], calibrated
    scores: Floats  # [N]
    finite: Bools  # [N]; the other rows have failed

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.probabilities.argmax(axis=1))


@dataclass(frozen=True, slots=True)
class ClassifierHead:
    """Makes one stage's answers from its logits. All methods are re-entrant."""

    exit: str  # the stage's name
    macs: int
    temperature: float
    score: Score

    def score_rows(self, logits: Logits, *beside: npt.NDArray[np.float32]) -> StageScores:
        """Score logits [N, K]. `beside`: further outputs [N], which must be finite as well."""
        logits, sound = zero_nonfinite(logits)
        for values in beside:
            sound &= np.isfinite(values)
        probabilities = softmax(logits, self.temperature)
        return StageScores(probabilities.astype(np.float32), self.score(probabilities), sound)

    def end(self, stage_scores: StageScores) -> Steps:
        """End every row with its answer; rows that are not finite fail."""
        return self.go_on(stage_scores, stage_scores.finite)

    def go_on(
        self, stage_scores: StageScores, answered: Bools, onward: Sequence[Onward] = ()
    ) -> Steps:
        """Give the rows marked in `answered` [N] their answers, and send rows to other stages."""
        outcomes = make_outcomes(stage_scores.probabilities, stage_scores.scores, 0, (self.exit,))
        everyone = None if answered.all() else answered
        return Steps(len(answered), self.macs, outcomes, everyone, onward)


@dataclass(frozen=True, slots=True)
class FinalStage:
    """A net after which every row is done. `run` is re-entrant: it keeps no state."""

    name: str
    session: onnxruntime.InferenceSession
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]  # logits [N, K]; anything else [N] must be finite
    head: ClassifierHead

    def run(self, rows: Batch) -> Steps:
        feed = {name: rows.inputs[name] for name in self.input_names}
        return self.head.end(self.head.score_rows(*self.session.run(self.output_names, feed)))


@dataclass(frozen=True, slots=True)
class Classifier(Generic[S]):
    """A pipeline of classifying stages."""

    digest: bytes
    first: str
    stages: Mapping[str, S]
    direct: Next | None = None  # the entry of rows that only the last stage may answer
