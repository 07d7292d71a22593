"""The difference of two accuracies on the same rows, with a standard error that is never zero.

Where two models are right on the same rows, the sample has no spread, but that many rows do not
show that there is none. Bonett and Price add one pair in each direction, so that the interval keeps
its coverage with few discordant rows (Adjusted Wald Confidence Interval for a Difference of
Binomial Proportions Based on Paired Data, 2012).
"""

import numpy as np

from cascades.thresholds import Grades


def compare_pairs(hits: Grades, reference: Grades) -> tuple[float, float]:
    """Return the difference of the accuracies, and its standard error, of [N] rows each.

    Both hold one more row that only `hits` has right, and one that only `reference` has right.
    Where rows are right in part, such pairs are the extremes, so the error is rather too large.
    """
    lead = np.append(hits.astype(np.float64) - reference, [1.0, -1.0])
    return float(lead.mean()), float(lead.std() / len(lead) ** 0.5)
