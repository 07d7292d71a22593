"""The verdict's interval, and whether the allowed loss is kept."""

import numpy as np
import pytest

from importing.verdict import compare_hits


def test_the_interval_has_a_width_where_all_answers_are_equal() -> None:
    hits = np.arange(98) % 5 > 0
    difference, low, high = compare_hits(hits, hits)
    assert difference == 0
    assert high == pytest.approx(1.959964 * 2**0.5 / 100)  # Bonett and Price, 98 rows and 2
    assert low == -high


def test_the_interval_is_that_of_bonett_and_price() -> None:
    hits = np.repeat([True, True, False, False], [60, 12, 3, 25])
    reference = np.repeat([True, False, True, False], [60, 12, 3, 25])
    difference, low, high = compare_hits(hits, reference)
    assert difference == pytest.approx(0.09)
    more, less = 13 / 102, 4 / 102
    error = ((more + less - (more - less) ** 2) / 102) ** 0.5
    assert low == pytest.approx(more - less - 1.959964 * error)
    assert high == pytest.approx(more - less + 1.959964 * error)
