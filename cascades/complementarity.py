"""Complementarity of classifiers, as "Dual Complementary CNNs" (arXiv 2412.01039) defines it.

    compl(a, b) = ( n(a or b) - n(a and b) - | n(a) - n(b) | ) / N

with n() the number of samples answered rightly. It equals 2 min(only a right, only b right) / N:
balanced disagreement. It knows neither cost nor whether confidence can find the disagreement; the
oracle's accuracy and gap say how much a perfect decision could gain.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Hits = npt.NDArray[np.bool_]  # [N], which samples a model answers rightly


def complementarity(a: Hits, b: Hits) -> float:
    """The paper's formula; in [0, 1], symmetric, 0 for a model and itself."""
    both, either = int((a & b).sum()), int((a | b).sum())
    return (either - both - abs(int(a.sum()) - int(b.sum()))) / len(a)


def complementarity_matrix(pool: Sequence[Hits]) -> npt.NDArray[np.float64]:
    """Complementarity of every two of M models, [M, M]."""
    return np.array([[complementarity(a, b) for b in pool] for a in pool], dtype=np.float64)


def oracle_accuracy(pool: Sequence[Hits]) -> float:
    """How often at least one of the models is right: what a perfect choice among them reaches."""
    return float(np.logical_or.reduce(pool).mean())


def oracle_gap(pool: Sequence[Hits], achieved: float) -> float:
    """What a perfect choice among the models would gain over the `achieved` accuracy."""
    return oracle_accuracy(pool) - achieved
