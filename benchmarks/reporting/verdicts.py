"""A target and what was measured held against it, as one row; and what rows are computed with.

A number is the median over runs. Which targets there are is known to `judging` and its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.results import Results

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """One target. `met` is None where it could not be measured, and `why` says why."""

    what: str
    target: str
    measured: str
    met: bool | None
    why: str  # how target or measurement came about

    def sentence(self) -> str:
        if self.met is None:
            return f"{self.what}: not measured, {self.why}."
        verdict = "met" if self.met else "missed"
        return f"{self.what}: {self.measured}, target {self.target} ({self.why}): {verdict}."


def at_most(
    what: str, measured: Floats | Sequence[float], limit: Floats | float, unit: str, why: str,
    digits: int = 1,
) -> Row:  # fmt: skip
    """Met where the median over runs is at most the limit's."""
    bound = median(limit)
    met = median(measured) <= bound
    return Row(what, f"≤ {bound:.{digits}f}{_space(unit)}", _show(measured, unit, digits), met, why)


def at_least(
    what: str, measured: Floats | Sequence[float], bound: float, unit: str, why: str, digits: int
) -> Row:
    """Met where the median over runs is at least `bound`."""
    met = median(measured) >= bound
    return Row(what, f"≥ {bound:.{digits}f}{_space(unit)}", _show(measured, unit, digits), met, why)


def _show(values: Floats | Sequence[float], unit: str, digits: int) -> str:
    """The median, and the range over runs where there are several."""
    text = f"{median(values):.{digits}f}{_space(unit)}"
    if len(values) > 1:
        text += f" [{min(values):.{digits}f}–{max(values):.{digits}f}]"
    return text


def _space(unit: str) -> str:
    return f" {unit}" if unit else ""


def each(results: Results, case: str, metric: str) -> Floats:
    """One value a run."""
    return np.array(results.values(case, metric))


def median(values: Floats | Sequence[float] | float) -> float:
    """Over runs."""
    return float(np.median(values))
