"""Tests of whether the canary is worse than the stable version, from counts alone.

All are one-sided: the hypothesis that a p-value speaks against is that the canary is no worse.
"""

import math
from collections.abc import Sequence

Z_95 = 1.6449  # of a one-sided 95 % bound
_NEGLIGIBLE = 1e-16


def find_failure_p(canary: int, of_canary: int, stable: int, of_stable: int) -> float:
    """Return the p-value of Fisher's exact test for a larger share of failures in the canary:
    `canary` of its `of_canary` requests failed, `stable` of the others' `of_stable`.
    """
    if not of_canary or not of_stable or canary * of_stable <= stable * of_canary:
        return 1.0
    total, failed = of_canary + of_stable, canary + stable
    term = math.exp(
        _log_choose(of_canary, canary) + _log_choose(of_stable, stable) - _log_choose(total, failed)
    )
    p, count = 0.0, canary
    while True:  # beyond the mean, where each term is smaller than the one before
        p += term
        left = min(failed, of_canary) - count
        if left <= 0 or term <= p * _NEGLIGIBLE:
            return min(1.0, p)
        others = of_stable - failed + count + 1
        term *= (failed - count) * (of_canary - count) / ((count + 1) * others)
        count += 1


def bound_more_failures(canary: int, of_canary: int, stable: int, of_stable: int) -> float:
    """Return the upper 95 % bound of the difference of both shares of failures, by Newcombe's
    method from Wilson's intervals; it is also right where nothing failed. 1 without requests.
    """
    if not of_canary or not of_stable:
        return 1.0
    first, second = canary / of_canary, stable / of_stable
    _, upper = _find_wilson(canary, of_canary)
    lower, _ = _find_wilson(stable, of_stable)
    return first - second + math.hypot(upper - first, second - lower)


def find_larger_p(canary: Sequence[float], stable: Sequence[float]) -> tuple[float, float]:
    """Return the probability that an observation of the canary is larger than one of the stable
    version, ties by half, and the p-value of the Mann-Whitney test for more than 0.5.

    Both are counts by bucket, in the order of the buckets; what is in one bucket is tied.
    """
    first, second = sum(canary), sum(stable)
    total = first + second
    if not first or not second:
        return 0.5, 1.0
    wins = below = ties = 0.0
    for mine, others in zip(canary, stable, strict=True):
        wins += mine * (below + others / 2)
        below += others
        ties += (mine + others) ** 3 - (mine + others)
    pairs = first * second
    larger = wins / pairs
    variance = pairs / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:  # all in one bucket
        return larger, 1.0
    z = (wins - pairs / 2) / math.sqrt(variance)
    return larger, 0.5 * math.erfc(z / math.sqrt(2))


def find_bucket(counts: Sequence[float], share: float) -> int:
    """Return the bucket up to which at least this share of the observations lie."""
    wanted, below = share * sum(counts), 0.0
    for place, count in enumerate(counts):
        below += count
        if below >= wanted:
            return place
    return len(counts) - 1


def find_quantile(bounds: Sequence[float], counts: Sequence[float], share: float) -> float:
    """Return a quantile by linear interpolation in its bucket, whose upper bounds are given; the
    last finite one for what is over it, NaN without observations.
    """
    if not sum(counts):
        return math.nan
    place = find_bucket(counts, share)
    if math.isinf(bounds[place]):
        return bounds[place - 1]
    lower = bounds[place - 1] if place else 0.0
    before = sum(counts[:place])
    part = (share * sum(counts) - before) / counts[place] if counts[place] else 1.0
    return lower + (bounds[place] - lower) * part


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _find_wilson(count: int, of: int) -> tuple[float, float]:
    share, z2 = count / of, Z_95**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z_95 / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)
