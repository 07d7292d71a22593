"""Budgets are fitted to a cost; differences come with their paired interval."""

import numpy as np
import pytest

from benchmarks.acm.accuracy import compare, fit_beta


def test_the_budget_of_a_wanted_cost_is_found() -> None:
    assert fit_beta(lambda beta: 0.2 + 0.8 * beta, 0.5) == pytest.approx(0.375, abs=0.01)
    assert fit_beta(lambda beta: 0.2 + 0.8 * beta, 0.1) == 0
    assert fit_beta(lambda beta: 0.2 + 0.8 * beta, 1.1) == 1


def test_a_difference_is_in_points_with_half_of_its_interval() -> None:
    hits, reference = np.ones(998, np.bool_), np.ones(998, np.bool_)
    reference[:50] = False
    difference, margin = compare("case", "over", hits, reference)
    assert (difference.metric, margin.metric) == ("over", "over_margin")
    assert difference.value == pytest.approx(5.0)
    assert 1.3 < margin.value < 1.5
