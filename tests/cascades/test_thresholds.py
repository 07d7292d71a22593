"""The grid search over thresholds against playing every row."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascades.thresholds import ALWAYS, Trace, make_grid, select_thresholds, simulate, sum_over_grid


def _make_trace(stages: int, seed: int, rows: int = 40) -> Trace:
    rng = np.random.default_rng(seed)
    hits = rng.random((stages, rows)) < 0.7
    return Trace(hits, rng.random((stages - 1, rows)).round(2), (1.0, 3.0, 10.0)[:stages])


@given(stages=st.integers(1, 3), seed=st.integers(0, 1000))
def test_the_tally_equals_playing_every_row_at_every_point(stages: int, seed: int) -> None:
    trace = _make_trace(stages, seed)
    grid = make_grid(trace)
    sums = sum_over_grid(trace, grid)
    for place in itertools.product(*(range(len(axis)) for axis in grid)):
        hits, cost = simulate(trace, [axis[index] for axis, index in zip(grid, place, strict=True)])
        point = (*place, *([0] * (2 - len(place))))
        assert sums.hits[point] == pytest.approx(hits.sum())
        assert sums.cost[point] == pytest.approx(cost.sum())


@given(stages=st.integers(2, 3), seed=st.integers(0, 1000), budget=st.floats(1, 15))
def test_the_pick_is_the_most_accurate_within_the_budget(
    stages: int, seed: int, budget: float
) -> None:
    trace = _make_trace(stages, seed)
    grid = make_grid(trace)
    played = [simulate(trace, thresholds) for thresholds in itertools.product(*grid)]
    within = [hits.sum() for hits, cost in played if cost.mean() <= budget]
    chosen = select_thresholds(sum_over_grid(trace, grid), grid, budget)
    if chosen is None:
        assert not within
    else:
        hits, cost = simulate(trace, chosen)
        assert hits.sum() == max(within)
        assert cost.mean() <= budget + 1e-9


def test_a_row_stops_at_the_first_stage_whose_score_reaches_the_threshold() -> None:
    hits = np.array([[True, False], [False, True]])
    trace = Trace(hits, np.array([[0.5, 0.49]]), (1.0, 2.0))
    found, cost = simulate(trace, [0.5])
    assert found.tolist() == [True, True]
    assert cost.tolist() == [1.0, 3.0]


def test_the_last_point_of_the_grid_sends_every_row_on() -> None:
    trace = Trace(np.ones((2, 3), dtype=bool), np.ones((1, 3)), (1.0, 2.0))
    assert make_grid(trace)[0][-1] == ALWAYS
    assert simulate(trace, [ALWAYS])[1].tolist() == [3.0] * 3
