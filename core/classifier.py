"""From a net's logits to a classifier's answers, alike for every kind of pipeline that classifies.

A stage's `ClassifierHead` calibrates the logits, scores them (`core.scores`) and makes the answers;
a row whose logits are not finite fails alone. Whether a row goes on, where to and with what is left
to each kind; opening its files to `core.classifier_route`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from core.last_stage_entry import LAST_STAGE_ONLY
from core.messages import Batch, Next, Outcome, Stage, Step
from core.scores import Floats, Score, softmax

Logits = npt.NDArray[np.float32]  # [N, K]
Bools = npt.NDArray[np.bool_]
Labels = tuple[npt.NDArray[np.int64], ...]  # one read-only scalar array a class

S = TypeVar("S", bound=Stage)


def make_labels(classes: int) -> Labels:
    labels = tuple(np.array(label, dtype=np.int64) for label in range(classes))
    for label in labels:
        label.setflags(write=False)  # all answers share them
    return labels


def zero_nonfinite(logits: Logits) -> tuple[Logits, Bools]:
    """Rows that are not finite as zeros, and which rows are sound: they harm no other row."""
    sound = np.asarray(np.isfinite(logits).all(axis=1))
    return (logits if sound.all() else np.where(sound[:, None], logits, np.float32(0))), sound


def find_below_requested(rows: Batch, confidences: Floats) -> Bools:
    """Rows that ask for more confidence than their answer has, or for the last stage's answer."""
    least = rows.controls.get("min_confidence")
    if least is None:
        return np.zeros(len(confidences), dtype=np.bool_)
    # False where NaN: the row does not set it.
    return np.asarray((confidences < least) | (least == LAST_STAGE_ONLY))


def make_outcomes(
    probabilities: npt.NDArray[np.float32],
    confidences: Floats,
    exits: Sequence[str],
    labels: Labels,
) -> list[Outcome]:
    """One answer a row; its label is the class that its probabilities show as the likeliest."""
    return [
        Outcome({"label": labels[label], "probabilities": row}, confidence, stage)
        for label, row, confidence, stage in zip(
            probabilities.argmax(axis=1).tolist(),
            probabilities,
            confidences.tolist(),
            exits,
            strict=True,
        )
    ]


@dataclass(frozen=True, slots=True)
class StageScores:
    """What a stage's net says of each row of a batch."""

    probabilities: npt.NDArray[np.float32]  # [N, K], calibrated
    scores: Floats  # [N]
    finite: Bools  # [N]; of the others nothing holds

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.probabilities.argmax(axis=1))


@dataclass(frozen=True, slots=True)
class ClassifierHead:
    """What makes one stage's answers of its logits. Every method is re-entrant."""

    exit: str  # the stage's name
    macs: int
    temperature: float
    score: Score
    labels: Labels

    def score_rows(self, logits: Logits, *beside: npt.NDArray[np.float32]) -> StageScores:
        """`beside`: what else the net gave [N], which must be finite for a row to be sound."""
        logits, sound = zero_nonfinite(logits)
        for values in beside:
            sound &= np.isfinite(values)
        probabilities = softmax(logits, self.temperature)
        return StageScores(probabilities.astype(np.float32), self.score(probabilities), sound)

    def end(self, stage_scores: StageScores) -> list[Step]:
        """Every row done with its answer; failed where it is not sound."""
        answers = make_outcomes(
            stage_scores.probabilities,
            stage_scores.scores,
            [self.exit] * len(stage_scores.scores),
            self.labels,
        )
        steps = [Step(self.macs, answer, None) for answer in answers]
        for row in np.flatnonzero(~stage_scores.finite).tolist():
            steps[row] = Step(self.macs, None, None)
        return steps


@dataclass(frozen=True, slots=True)
class FinalStage:
    """A net after which every row is done. `run` is re-entrant: it keeps nothing."""

    name: str
    session: onnxruntime.InferenceSession
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]  # logits [N, K]; anything else [N] must be finite
    head: ClassifierHead

    def run(self, rows: Batch) -> Sequence[Step]:
        feed = {name: rows.inputs[name] for name in self.input_names}
        return self.head.end(self.head.score_rows(*self.session.run(self.output_names, feed)))


@dataclass(frozen=True, slots=True)
class Classifier(Generic[S]):
    """A built pipeline of such stages."""

    digest: bytes
    first: str
    stages: Mapping[str, S]
    direct: Next | None = None  # where rows enter that the last stage alone may answer
