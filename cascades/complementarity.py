"""Complementarity of classifiers, as "Dual Complementary CNNs" (arXiv 2412.01039) defines it.

    compl(a, b) = ( n(a or b) - n(a and b) - | n(a) - n(b) | ) / N

n() is the number of samples answered correctly. This is 2 min(only a correct, only b correct) / N,
balanced disagreement. It ignores cost, and whether confidence can detect the disagreement. The
oracle's accuracy and gap show how much a perfect decision could gain.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cascades.thresholds import Grades

Hits = npt.NDArray[np.bool_]  # [N], which samples a model answers correctly


def complementarity(a: Hits, b: Hits) -> float:
    """The paper's formula; in [0, 1], symmetric, 0 for a model and itself."""
    both, either = int((a & b).sum()), int((a | b).sum())
    return (either - both - abs(int(a.sum()) - int(b.sum()))) / len(a)


def complementarity_matrix(pool: Sequence[Hits]) -> npt.NDArray[np.float64]:
    """Complementarity of every pair of M models, [M, M]."""
    return np.array([[complementarity(a, b) for b in pool] for a in pool], dtype=np.float64)


def oracle_accuracy(pool: Sequence[Grades]) -> float:
    """The share of samples that at least one model gets right: the accuracy of a perfect choice.

    Of samples that are right in part, 0 to 1, the best model of each counts.
    """
    return float(np.maximum.reduce(list(pool)).mean())


def oracle_gap(pool: Sequence[Grades], achieved: float) -> float:
    """The gain of a perfect choice among the models over the `achieved` accuracy, 0 to 1."""
    return oracle_accuracy(pool) - achieved
