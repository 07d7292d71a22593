"""The tests behind a verdict, against exact values and simulated rollouts."""

import math
from fractions import Fraction

import numpy as np
import pytest

from sparing.rollout.statistics import (
    bound_more_failures,
    find_failure_p,
    find_larger_p,
    find_quantile,
)


def count_exactly(canary: int, of_canary: int, stable: int, of_stable: int) -> float:
    failed, total = canary + stable, of_canary + of_stable
    ways = sum(
        math.comb(failed, count) * math.comb(total - failed, of_canary - count)
        for count in range(canary, min(failed, of_canary) + 1)
    )
    return float(Fraction(ways, math.comb(total, of_canary)))


@pytest.mark.parametrize(
    "counts",
    [(3, 20, 1, 100), (1, 5, 0, 50), (10, 100, 30, 900), (5, 5, 0, 5), (60, 300, 100, 2000)],
)
def test_the_failure_test_is_fishers_exact_one(counts: tuple[int, int, int, int]) -> None:
    assert find_failure_p(*counts) == pytest.approx(count_exactly(*counts), rel=1e-9)


def test_a_share_that_is_no_larger_speaks_against_nothing() -> None:
    assert find_failure_p(0, 100, 0, 100) == 1.0
    assert find_failure_p(1, 100, 30, 1000) == 1.0
    assert find_failure_p(0, 0, 3, 10) == 1.0


def test_large_counts_neither_overflow_nor_take_long() -> None:
    assert find_failure_p(50_000, 1_000_000, 30_000, 1_000_000) < 1e-100
    assert 0.3 < find_failure_p(50_010, 1_000_000, 50_000, 1_000_000) < 0.5


def test_the_bound_shrinks_with_the_requests_and_holds_without_failures() -> None:
    bounds = [bound_more_failures(0, n, 0, 10 * n) for n in (10, 100, 1000, 10_000)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == pytest.approx(2.7 / 10_000, rel=0.05)
    assert bound_more_failures(0, 0, 0, 10) == 1.0


def test_the_bound_covers_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    canary, stable = rng.binomial(400, 0.03, 2000), rng.binomial(4000, 0.02, 2000)
    covered = [
        bound_more_failures(int(a), 400, int(b), 4000) >= 0.01
        for a, b in zip(canary, stable, strict=True)
    ]
    assert 0.93 < float(np.mean(covered)) < 0.98


def test_the_rank_test_is_rarely_wrong_where_nothing_differs() -> None:
    rng = np.random.default_rng(6)
    buckets = [0.1, 0.3, 0.4, 0.15, 0.05]
    few, many = rng.multinomial(300, buckets, 2000), rng.multinomial(3000, buckets, 2000)
    p = [find_larger_p(a.tolist(), b.tolist())[1] for a, b in zip(few, many, strict=True)]
    assert 0.035 < float(np.mean([one < 0.05 for one in p])) < 0.065


def test_the_rank_test_finds_a_shift_by_one_bucket() -> None:
    larger, p = find_larger_p([0, 100, 200, 100], [100, 200, 100, 0])
    assert larger > 0.7
    assert p < 1e-10
    assert find_larger_p([100, 200, 100, 0], [0, 100, 200, 100])[1] > 0.999


def test_without_observations_or_with_one_bucket_nothing_is_known() -> None:
    assert find_larger_p([0, 0], [3, 4]) == (0.5, 1.0)
    assert find_larger_p([5, 0], [7, 0]) == (0.5, 1.0)


def test_quantiles_lie_in_their_bucket() -> None:
    bounds = [0.1, 0.2, math.inf]
    assert find_quantile(bounds, [10, 10, 0], 0.5) == pytest.approx(0.1)
    assert find_quantile(bounds, [10, 10, 0], 0.75) == pytest.approx(0.15)
    assert find_quantile(bounds, [0, 0, 5], 0.5) == 0.2
    assert math.isnan(find_quantile(bounds, [0, 0, 0], 0.5))
