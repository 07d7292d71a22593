"""The answers and costs of a cascade on some pictures, replayed from its nets' logits.

A replay costs milliseconds, so many rules can be compared. A test compares it with the served
route's answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascades.combining import RULES, first_answer
from cascades.complementarity import oracle_accuracy
from core.classifiers.scores import SCORES, log_softmax, max_probability, softmax

Labels = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides a cascade's answers but its nets."""

    thresholds: tuple[float, ...]  # one fewer than stages
    temperatures: tuple[float, ...]
    score: str
    combine: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The answers, and how far each row went."""

    answers: Labels  # [N]
    reached: tuple[float, ...]  # by stage, the fraction of rows that ran it
    accuracy: float
    oracle: float  # the share of rows that at least one stage has right

    def mean(self, costs: Sequence[float]) -> float:
        """The expected cost of a row, given what each stage costs."""
        return sum(share * cost for share, cost in zip(self.reached, costs, strict=True))


def replay(stages: Sequence[Logits], labels: Labels, plan: Plan) -> Replay:
    """Each row goes on while its stage's own score is under the stage's threshold."""
    score, rule = SCORES[plan.score], RULES[plan.combine]
    own = [
        first_answer(log_softmax(logits, temperature), score, index)
        for index, (logits, temperature) in enumerate(zip(stages, plan.temperatures, strict=True))
    ]
    combined = own[0]
    answers = combined.probabilities.argmax(axis=1)
    going = np.ones(len(labels), dtype=np.bool_)
    reached = [1.0]
    for index, (stage, threshold) in enumerate(zip(own[1:], plan.thresholds, strict=True), 1):
        going &= own[index - 1].scores < threshold
        combined = rule(combined, stage, index, score)
        answers[going] = combined.probabilities.argmax(axis=1)[going]
        reached.append(float(going.mean()))
    hits = [logits.argmax(axis=1) == labels for logits in stages]
    return Replay(answers, tuple(reached), float((answers == labels).mean()), oracle_accuracy(hits))


def accuracy(logits: Logits, labels: Labels) -> float:
    """The accuracy of one net alone."""
    return float((logits.argmax(axis=1) == labels).mean())


def calibration_error(logits: Logits, labels: Labels, temperature: float, bins: int = 15) -> float:
    """Expected calibration error: confidence against accuracy, in bins of equal width."""
    probabilities = softmax(logits, temperature)
    confidence = max_probability(probabilities)
    hits = probabilities.argmax(axis=1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    sums = np.bincount(places, weights=hits - confidence, minlength=bins)
    return float(np.abs(sums).sum() / len(labels))
