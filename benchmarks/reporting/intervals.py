"""Intervals of 95 % of a mean over few runs (Student)."""

import math
from collections.abc import Sequence

# The 97.5 % quantile of Student's t by degrees of freedom, 1 to 9.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
MAX_RUNS = len(_T) + 1


def mean_and_margin(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and half the interval's width; None where one value says nothing of the spread."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    freedom = len(values) - 1
    variance = math.fsum((value - mean) ** 2 for value in values) / freedom
    return mean, _T[freedom - 1] * math.sqrt(variance / len(values))
