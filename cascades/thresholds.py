"""Thresholds of one cascade: accuracy and expected cost over a grid, and the best within a budget.

The grid uses quantiles of each stage's scores, closer together where few rows escalate. All
thresholds of a chain of up to three stages are tried at once: sums over rows are products of 0/1
matrices of escalating rows. Needs only which rows are correct after which stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.classifiers.scores import Floats

Grades = npt.NDArray[Any]  # [N], how right an answer is: True or False, or 0 to 1

MAX_STAGES = 3
ALWAYS = 1.000001  # above every score: each row continues
FRACTIONS = (
    0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.36, 0.43, 0.5, 0.6, 0.7, 0.85,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trace:
    """Results of N rows in a chain of S stages, as if no row ever stopped."""

    hits: Grades  # [S, N], the combined answer after stage s is right
    scores: Floats  # [S - 1, N], the scores of the stages that decide
    costs: tuple[float, ...]  # per row, of each stage

    def take(self, rows: slice) -> "Trace":
        return Trace(self.hits[:, rows], self.scores[:, rows], self.costs)


@dataclass(frozen=True, slots=True)
class GridSums:
    """Sums over some rows for every grid point [T1, T2]; sums of disjoint rows can be added."""

    hits: Floats
    cost: Floats
    rows: int


def make_grid(trace: Trace) -> tuple[Floats, ...]:
    """Return the thresholds to try, for each stage but the last."""
    return tuple(
        np.append(np.quantile(scores, FRACTIONS), ALWAYS).astype(np.float64)
        for scores in trace.scores
    )


def sum_over_grid(trace: Trace, grid: Sequence[Floats]) -> GridSums:
    """Hits and cost of every threshold tuple on the trace's rows."""
    gains = np.diff(trace.hits.astype(np.float64), axis=0)  # the change by each further stage
    rows = trace.hits.shape[1]
    hits = np.full((1, 1), float(trace.hits[0].sum()))
    cost = np.full((1, 1), rows * trace.costs[0])
    on = [
        (scores < thresholds[:, None]).astype(np.float64)
        for scores, thresholds in zip(trace.scores, grid, strict=True)
    ]
    if len(on) > 0:
        hits = hits + (on[0] @ gains[0])[:, None]
        cost = cost + on[0].sum(axis=1)[:, None] * trace.costs[1]
    if len(on) > 1:
        hits = hits + (on[0] * gains[1]) @ on[1].T
        cost = cost + on[0] @ on[1].T * trace.costs[2]
    return GridSums(hits, cost, rows)


def select_thresholds(
    sums: GridSums, grid: Sequence[Floats], budget: float
) -> tuple[float, ...] | None:
    """Select the most accurate thresholds within the budget, then the cheapest; None if none."""
    allowed = sums.cost <= budget * sums.rows
    if not allowed.any():
        return None
    hits = np.where(allowed, sums.hits, -1.0)
    cost = np.where(hits == hits.max(), sums.cost, np.inf)
    place = np.unravel_index(int(cost.argmin()), cost.shape)
    return tuple(float(axis[index]) for axis, index in zip(grid, place, strict=False))


def simulate(trace: Trace, thresholds: Sequence[float]) -> tuple[Grades, Floats]:
    """Return per row [N] whether the answer is correct, and its cost."""
    hits = trace.hits[0].copy()
    cost: Floats = np.full(len(hits), trace.costs[0])
    going = np.ones(len(hits), dtype=np.bool_)
    for index, threshold in enumerate(thresholds):
        going &= trace.scores[index] < threshold
        hits[going] = trace.hits[index + 1, going]
        cost[going] += trace.costs[index + 1]
    return hits, cost
