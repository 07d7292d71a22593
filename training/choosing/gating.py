"""Thresholds of the gated converter and of the control cascade, from held-out pictures alone.

Allowed is a share of LeNet's time; within it the most accurate is taken, then the cheapest. The
gate itself is `converters.gated`'s; here it is replayed from the nets' outputs, so that trying a
pair of thresholds costs microseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascades.thresholds import ALWAYS, Trace, make_grid, select_thresholds, simulate, sum_over_grid
from core.classifiers.scores import SCORES, Floats, softmax

SCORE = "max_probability"
FAR_QUANTILE = 0.99  # of the distances of held-out conversions that are right
QUANTILES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answers:
    """A net's labels and scores on some pictures."""

    labels: Labels
    scores: Floats


@dataclass(frozen=True, slots=True)
class GatedAnswers:
    """The answers of a gated route's three nets on the same pictures, and what each net costs."""

    light: Answers
    converted: Answers
    distance: npt.NDArray[np.float32]
    full: Answers
    costs: tuple[float, ...]  # of the three


@dataclass(frozen=True, slots=True)
class Gate:
    """The thresholds that decide how far a row goes."""

    light: float
    converted: float
    max_distance: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answers, and how far the rows went."""

    answers: Labels
    reached: tuple[float, ...]  # by stage, the fraction of rows that ran it
    cost: float  # of a row, in the unit of the costs


def read_answers(logits: Logits, temperature: float) -> Answers:
    """The labels and the scores by which the gate decides."""
    probabilities = softmax(logits, temperature)
    return Answers(probabilities.argmax(axis=1), SCORES[SCORE](probabilities))


def replay_gate(nets: GatedAnswers, gate: Gate) -> Outcome:
    """The answers that the gate gives, and their cost."""
    unsure = nets.light.scores < gate.light
    refused = unsure & ~_may_stop(nets, gate.max_distance)
    refused |= unsure & (nets.converted.scores < gate.converted)
    answers = np.where(unsure, nets.converted.labels, nets.light.labels)
    answers = np.where(refused, nets.full.labels, answers)
    reached = (1.0, float(unsure.mean()), float(refused.mean()))
    return Outcome(answers, reached, float(np.dot(reached, nets.costs)))


def choose_gate(nets: GatedAnswers, labels: Labels, budget: float) -> Gate:
    """The most accurate gate whose mean cost is within the budget, then the cheapest; the cheapest
    of all where none is.
    """
    right = nets.converted.labels == labels
    far = float(np.quantile(nets.distance[right], FAR_QUANTILE)) if right.any() else 0.0
    best: tuple[tuple[float, float], Gate] | None = None
    for light in (*np.unique(np.quantile(nets.light.scores, _LIGHT)), ALWAYS):
        unsure = nets.light.scores < light
        scores = nets.converted.scores[unsure & _may_stop(nets, far)]
        choices = np.unique(np.quantile(scores, QUANTILES)) if len(scores) else np.zeros(0)
        for converted in (*choices, ALWAYS):
            gate = Gate(float(light), float(converted), far)
            rank = rank_gate(nets, gate, labels, budget)
            if best is None or rank > best[0]:
                best = rank, gate
    assert best is not None, "there is always ALWAYS"
    return best[1]


def rank_gate(nets: GatedAnswers, gate: Gate, labels: Labels, budget: float) -> tuple[float, float]:
    """The greater the better: within the budget by accuracy, then by cost."""
    found = replay_gate(nets, gate)
    accuracy = float((found.answers == labels).mean())
    return (accuracy if found.cost <= budget else -1.0, -found.cost)


def choose_threshold(
    stages: Sequence[Answers], labels: Labels, costs: Sequence[float], budget: float
) -> float:
    """The threshold of a cascade of two by the same rule."""
    trace = _trace(stages, labels, costs)
    grid = make_grid(trace)
    sums = sum_over_grid(trace, grid)
    found = select_thresholds(sums, grid, budget) or select_thresholds(
        sums, grid, float(sums.cost.min()) / sums.rows
    )
    assert found is not None, "the cheapest is within its own cost"
    return found[0]


def replay_cascade(
    stages: Sequence[Answers], labels: Labels, costs: Sequence[float], threshold: float
) -> tuple[float, tuple[float, float]]:
    """Accuracy, and the fraction of rows that ran each stage."""
    hits, _ = simulate(_trace(stages, labels, costs), [threshold])
    return float(hits.mean()), (1.0, float((stages[0].scores < threshold).mean()))


_LIGHT = tuple(np.linspace(0.0, 0.5, 26).tolist())  # of the rows go on


def _may_stop(nets: GatedAnswers, max_distance: float) -> npt.NDArray[np.bool_]:
    """Rows whose conversion agrees with the light net and is near a reference."""
    agree = nets.converted.labels == nets.light.labels
    may: npt.NDArray[np.bool_] = agree & (nets.distance <= max_distance)
    return may


def _trace(stages: Sequence[Answers], labels: Labels, costs: Sequence[float]) -> Trace:
    hits = np.stack([stage.labels == labels for stage in stages])
    scores = np.stack([stage.scores for stage in stages[:-1]])
    return Trace(hits, scores, tuple(costs))
