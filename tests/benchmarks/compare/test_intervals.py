"""Intervals agree with published tables."""

import pytest

from benchmarks.compare.intervals import MAX_SEEDS, mean_and_margin, wilson


def test_three_seeds_have_students_interval() -> None:
    mean, margin = mean_and_margin([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert margin == pytest.approx(4.303 / 3**0.5, rel=1e-4)


def test_one_seed_tells_nothing_of_the_spread_and_as_many_as_allowed_do() -> None:
    assert mean_and_margin([0.5]) == (0.5, None)
    values = [float(value) for value in range(MAX_SEEDS)]
    assert mean_and_margin(values)[1] == pytest.approx(2.262 * (55 / 6) ** 0.5 / 10**0.5, rel=1e-4)


def test_wilson_is_not_symmetric_near_one() -> None:
    low, high = wilson(0.99, 1000)  # 0.9817, 0.9946 by the textbook
    assert low == pytest.approx(0.9817, abs=1e-4)
    assert high == pytest.approx(0.9946, abs=1e-4)
    assert wilson(1.0, 10)[1] == pytest.approx(1.0)
    assert wilson(1.0, 10)[0] == pytest.approx(0.7225, abs=1e-4)
