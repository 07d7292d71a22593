"""Targets as data: what a figure is, how it comes from the samples, and its limit.

A figure has one value a run; the median over runs counts. Ratios and differences of two cases are
taken run by run first, as their runs are neighbours in time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.results import Results

Floats = npt.NDArray[np.float64]
Figure = Callable[[Results], Floats]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row of the table of targets. `met` is None where nothing was measured."""

    what: str
    limit: str
    measured: str
    met: bool | None

    def cells(self) -> list[str]:
        verdict = {True: "met", False: "**missed**", None: "not measured"}[self.met]
        return [self.what, self.limit, self.measured, verdict]


@dataclass(frozen=True, slots=True)
class Target:
    """One of the two limits is given."""

    what: str
    figure: Figure
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""
    digits: int = 1

    def judge(self, results: Results) -> Verdict:
        sign, limit = ("≥", self.at_least) if self.at_most is None else ("≤", self.at_most)
        assert limit is not None
        limited = f"{sign} {self._say(limit)}"
        try:
            values = self.figure(results)
        except KeyError:  # no such case
            values = np.array([])
        if not len(values):
            return Verdict(self.what, limited, "–", None)
        middle = float(np.median(values))
        met = middle <= limit if sign == "≤" else middle >= limit
        measured = self._say(middle)
        if len(values) > 1:
            lowest, highest = (self._round(one) for one in (min(values), max(values)))
            measured += f" [{lowest}–{highest}]"
        return Verdict(self.what, limited, measured, met)

    def _say(self, value: float) -> str:
        return f"{self._round(value)}{' ' if self.unit else ''}{self.unit}"

    def _round(self, value: float) -> str:
        return f"{round(value, self.digits) + 0.0:.{self.digits}f}"  # never -0


def each(results: Results, case: str, metric: str) -> Floats:
    """One value a run."""
    return np.array(results.values(case, metric))


def value(case: str, metric: str, scale: float = 1.0) -> Figure:
    return lambda results: scale * each(results, case, metric)


def ratio(case: str, other: str, metric: str, scale: float = 1.0) -> Figure:
    return lambda results: scale * each(results, case, metric) / each(results, other, metric)


def difference(case: str, other: str, metric: str, scale: float = 1.0) -> Figure:
    return lambda results: scale * (each(results, case, metric) - each(results, other, metric))


def total(*metrics: str) -> Figure:
    """Over all cases and runs."""
    return lambda results: np.array(
        [sum(sample.value for sample in results.samples if sample.metric in metrics)]
    )


FAULTS = Target("Errors and wrong answers under load", total("errors", "wrong"), 0, digits=0)
