"""What the logits of a cascade's stages mean: one label a row, or several labels at once.

Serving a cascade and selecting one use the same functions. A stage's *evidence* [N, K] is what
combining adds up: log-probabilities for one label, log-odds for several.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from cascades.combining import RULES, CombinedAnswer, Rule, last, post_check
from cascades.thresholds import Grades
from core.classifiers.classifier import make_outcomes
from core.classifiers.label_sets import (
    LABEL_THRESHOLD,
    fit_label_temperature,
    grade_labels,
    make_joint_score,
    scale_logits,
    sigmoid,
)
from core.classifiers.scores import SCORES, Floats, Score, fit_temperature, log_softmax
from core.messages import Outcomes

Labels = npt.NDArray[np.integer]  # [N], or [N, K] of 0 and 1
Exits = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AnswerKind:
    """The functions of one kind."""

    calibrate: Callable[[npt.NDArray[np.floating], float], Floats]  # logits, temperature: evidence
    find_probabilities: Callable[[Floats], Floats]  # of evidence
    fit_temperature: Callable[[npt.NDArray[np.floating], Labels], float]  # on held-out rows
    scores: Mapping[str, Score]
    rules: Mapping[str, Rule]
    grade: Callable[[Floats, Labels], Grades]  # of probabilities
    make_outcomes: Callable[[Floats, Floats, Exits, Sequence[str]], Outcomes]

    def answer(
        self,
        logits: npt.NDArray[np.floating],
        temperature: float,
        score: Score,
        index: int = 0,
    ) -> CombinedAnswer:
        """Return the answer of the stage `index` by itself."""
        evidence = self.calibrate(logits, temperature)
        probabilities = self.find_probabilities(evidence)
        exits = np.full(len(probabilities), index, dtype=np.int64)
        return CombinedAnswer(probabilities, score(probabilities), exits, evidence)

    def grade_logits(self, logits: npt.NDArray[np.floating], labels: Labels) -> Grades:
        """Return how right a model's own answers are; a temperature does not change that."""
        return self.grade(self.find_probabilities(self.calibrate(logits, 1.0)), labels)


def _grade_one(probabilities: Floats, labels: Labels) -> Grades:
    return np.asarray(probabilities.argmax(axis=1) == labels)


def _make_one(
    probabilities: Floats, confidences: Floats, exits: Exits, names: Sequence[str]
) -> Outcomes:
    return make_outcomes(probabilities.astype(np.float32), confidences, exits, names)


ONE_LABEL = AnswerKind(
    calibrate=log_softmax,
    find_probabilities=np.exp,
    fit_temperature=fit_temperature,
    scores=SCORES,
    rules=RULES,
    grade=_grade_one,
    make_outcomes=_make_one,
)


def average_log_odds(
    so_far: CombinedAnswer, new: CombinedAnswer, index: int, score: Score
) -> CombinedAnswer:
    """Mean of the log-odds of the `index` + 1 stages."""
    total = so_far.evidence + new.evidence
    probabilities = sigmoid(total / (index + 1))
    return CombinedAnswer(probabilities, score(probabilities), new.exits, total)


def several_labels(label_thresholds: Sequence[float] | None = None) -> AnswerKind:
    """Return the kind of answers with several labels at once.

    A label holds where its probability reaches its threshold; None: 0.5 for every label.
    """
    limits = np.asarray(LABEL_THRESHOLD if label_thresholds is None else label_thresholds)

    def grade(probabilities: Floats, labels: Labels) -> Grades:
        return grade_labels(probabilities >= limits, labels)

    def make(
        probabilities: Floats, confidences: Floats, exits: Exits, names: Sequence[str]
    ) -> Outcomes:
        outputs = {
            "labels": probabilities >= limits,
            "probabilities": probabilities.astype(np.float32),
        }
        return Outcomes(outputs, confidences, exits, names)

    return AnswerKind(
        calibrate=scale_logits,
        find_probabilities=sigmoid,
        fit_temperature=fit_label_temperature,
        scores=MappingProxyType({"joint": make_joint_score(limits)}),
        rules=MappingProxyType(
            {"post_check": post_check, "last": last, "average": average_log_odds}
        ),
        grade=grade,
        make_outcomes=make,
    )
