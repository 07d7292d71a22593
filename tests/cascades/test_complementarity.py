"""Complementarity: the paper's set formula, its closed form, and the oracle."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cascades.complementarity import (
    complementarity,
    complementarity_matrix,
    oracle_accuracy,
    oracle_gap,
)

Pool = npt.NDArray[np.bool_]
pools = hnp.arrays(np.bool_, st.tuples(st.integers(2, 5), st.integers(1, 60)))


def test_a_worked_example() -> None:
    a = np.array([1, 1, 1, 0, 0, 0, 1, 1, 1, 0], dtype=bool)  # 6 right
    b = np.array([1, 1, 0, 1, 0, 0, 1, 1, 0, 0], dtype=bool)  # 5 right, 1 of them only b
    assert complementarity(a, b) == pytest.approx((7 - 4 - 1) / 10)


@given(pool=pools)
def test_the_formula_equals_twice_the_smaller_of_only_a_and_only_b(pool: Pool) -> None:
    a, b = pool[0], pool[1]
    closed = 2 * min((a & ~b).sum(), (b & ~a).sum()) / len(a)
    assert complementarity(a, b) == pytest.approx(closed)


@given(pool=pools)
def test_the_matrix_is_symmetric_with_a_zero_diagonal_inside_zero_and_one(pool: Pool) -> None:
    matrix = complementarity_matrix(list(pool))
    assert matrix.shape == (len(pool), len(pool))
    assert (matrix == matrix.T).all()
    assert (matrix.diagonal() == 0).all()
    assert ((matrix >= 0) & (matrix <= 1)).all()


@given(pool=pools)
def test_the_oracle_is_never_worse_than_any_member(pool: Pool) -> None:
    best = max(float(member.mean()) for member in pool)
    assert oracle_accuracy(list(pool)) >= best
    assert oracle_gap(list(pool), best) == pytest.approx(oracle_accuracy(list(pool)) - best)


def test_the_oracle_counts_samples_that_somebody_answers_rightly() -> None:
    pool = [np.array([True, False, False, False]), np.array([False, True, False, False])]
    assert oracle_accuracy(pool) == 0.5
