"""Workloads: how many requests go to which route and how far, and what a drift changes."""

import numpy as np
import pytest

from simulation.costs import Costs, RouteCosts, StageCosts
from simulation.workload import Drift, make_workload

LAST = StageCosts("last", 1.0, 1.0, 1)
TWO = RouteCosts("two", (StageCosts("first", 1.0, 1.0, 1, 0.2), LAST), share=3.0, hit_rate=0.5)
ONE = RouteCosts("one", (LAST,), share=1.0)
ARRIVALS_S = np.linspace(0.0, 100.0, 100_000)


def count(costs: Costs, drift: Drift | None = None) -> dict[tuple[int, int], int]:
    """Count requests by their first and last lane."""
    found = make_workload(costs, ARRIVALS_S, 1, drift)
    pairs, counts = np.unique([found.first_lane, found.last_lane], axis=1, return_counts=True)
    return {
        (int(first), int(last)): int(n) for (first, last), n in zip(pairs.T, counts, strict=True)
    }


def test_requests_divide_among_routes_stages_and_the_cache() -> None:
    found = count(Costs((TWO, ONE)))
    assert set(found) == {(0, -1), (0, 0), (0, 1), (2, 2)}
    assert found[0, -1] == pytest.approx(37_500, rel=0.02)
    assert found[0, 0] == pytest.approx(30_000, rel=0.02)
    assert found[0, 1] == pytest.approx(7_500, rel=0.04)
    assert found[2, 2] == pytest.approx(25_000, rel=0.02)


def test_a_drift_doubles_what_goes_on_from_its_time_on() -> None:
    costs = Costs((RouteCosts("two", TWO.stages),))
    usual, drifted = count(costs), count(costs, Drift(50.0))
    assert usual[0, 1] == pytest.approx(20_000, rel=0.02)
    assert drifted[0, 1] == pytest.approx(30_000, rel=0.02)  # half of the time at 40 %
    before, after = (make_workload(costs, ARRIVALS_S, 1, drift) for drift in (None, Drift(50.0)))
    assert before.last_lane[:50_000] == after.last_lane[:50_000]
    assert all(
        later >= sooner for sooner, later in zip(before.last_lane, after.last_lane, strict=True)
    )


def test_the_same_seed_draws_the_same_requests() -> None:
    costs = Costs((TWO, ONE))
    first, again, other = (make_workload(costs, ARRIVALS_S, seed) for seed in (1, 1, 2))
    assert first.last_lane == again.last_lane
    assert first.last_lane != other.last_lane
