"""Predicted times of rows from a table of measured ones."""

import pytest

from tokens.acm.times import read_times


def test_noise_does_not_make_a_smaller_budget_dearer() -> None:
    times = read_times([[0.0, 1, 12, 9], [0.5, 1, 10, 8], [1.0, 1, 11, 10]])
    assert [times.predict_us(beta, 1, True) for beta in (0.0, 0.5, 0.75, 1.0)] == [9, 9, 9.5, 10]
    assert {times.predict_us(beta, 1, False) for beta in (0.0, 0.5, 1.0)} == {11}


@pytest.mark.parametrize("table", [[[0.0, 0, 1, 1]], [[0.0, 1, 1, -1]], [[0.0, 1, 1, 1, 1]]])
def test_lines_that_are_no_measurement_are_refused(table: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="each line needs"):
        read_times(table)


def test_every_budget_needs_every_number_of_rows() -> None:
    with pytest.raises(ValueError, match="3 lines, needed is one for each of 2 budgets and 2"):
        read_times([[0.0, 1, 5, 5], [0.0, 2, 5, 5], [1.0, 1, 5, 5]])
