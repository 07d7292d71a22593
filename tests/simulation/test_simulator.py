"""The simulator against queueing theory and bookkeeping, all on the simulated clock."""

from dataclasses import replace

import numpy as np
import pytest

from simulation.autoscaling import Policy, ScalingRules
from simulation.costs import Costs, RouteCosts, StageCosts
from simulation.simulator import BalancerName, FleetPlan, Run, simulate
from simulation.trace import Floats
from simulation.workload import Drift, make_workload

FIXED = FleetPlan(rules=ScalingRules(kind="none"), replicas=1)
ONE_BY_ONE = Costs((RouteCosts("one", (StageCosts("only", 10.0, 10.0, 1),)),))
CASCADE = Costs(
    (
        RouteCosts(
            "cascade",
            (StageCosts("small", 1.0, 4.0, 16, 0.2), StageCosts("large", 10.0, 40.0, 8)),
        ),
    )
)
SCALING = FleetPlan(
    rules=ScalingRules(
        min_replicas=1,
        max_replicas=8,
        polling_s=5.0,
        down_window_s=20.0,
        up_policies=(Policy(8, 5, False),),
        down_policies=(Policy(100, 5, True),),
    ),
    replicas=1,
    start_s=3.0,
    drain_s=1.0,
    metric_window_s=10.0,
)


def draw_poisson(rate: float, count: int, seed: int = 1) -> Floats:
    return np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, count))


def run(
    costs: Costs, arrival_s: Floats, plan: FleetPlan = FIXED, drift: Drift | None = None
) -> Run:
    return simulate(make_workload(costs, arrival_s, 1, drift), plan)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_the_mean_wait_is_that_of_m_d_1(load: float) -> None:
    service_s = 0.01
    found = run(ONE_BY_ONE, draw_poisson(load / service_s, 100_000))
    wait_s = found.latency_s.mean() - service_s
    assert wait_s == pytest.approx(load * service_s / (2 * (1 - load)), rel=0.05)


def test_an_event_loop_is_a_queue_of_its_own() -> None:
    quick = Costs((RouteCosts("one", (StageCosts("only", 1e-6, 1e-6, 1),)),))
    found = run(quick, draw_poisson(60.0, 100_000), replace(FIXED, overhead_s=0.01))
    assert found.latency_s.mean() - 0.01 == pytest.approx(0.6 * 0.01 / (2 * 0.4), rel=0.05)


def test_a_device_is_busy_for_the_work_that_arrives() -> None:
    alone = Costs(
        (RouteCosts("a", (StageCosts("s", 2.0, 2.0, 1, 0.3), StageCosts("l", 10.0, 10.0, 1))),)
    )
    found = run(alone, draw_poisson(100.0, 50_000))
    busy = found.batch_s.sum() / found.end_s
    assert busy == pytest.approx(100.0 * (0.002 + 0.3 * 0.010), rel=0.03)
    assert found.batch_rows.tolist() == [1.0] * len(found.batch_rows)


def test_requests_in_flight_are_rate_times_latency() -> None:
    found = run(CASCADE, draw_poisson(400.0, 40_000), replace(FIXED, replicas=3))
    moments_s = np.random.default_rng(2).uniform(0.0, found.end_s, 20_000)
    ended_s = np.sort(found.arrival_s + found.latency_s)
    in_flight = np.searchsorted(found.arrival_s, moments_s) - np.searchsorted(ended_s, moments_s)
    rate = len(found.latency_s) / found.end_s
    assert in_flight.mean() == pytest.approx(rate * found.latency_s.mean(), rel=0.03)


def test_waiting_rows_share_a_batch_up_to_its_limit() -> None:
    costs = Costs((RouteCosts("one", (StageCosts("only", 10.0, 13.0, 4),)),))
    found = run(costs, np.array([0.0, 0.001, 0.002, 0.003, 0.004, 0.005]))
    assert found.batch_rows.tolist() == [1.0, 4.0, 1.0]
    assert found.batch_at_s.tolist() == pytest.approx([0.0, 0.010, 0.023])
    assert found.latency_s.max() == pytest.approx(0.033 - 0.005)


def test_survivors_of_several_requests_share_a_later_batch() -> None:
    all_go_on = Costs(
        (RouteCosts("a", (StageCosts("s", 1.0, 1.0, 2, 1.0), StageCosts("l", 10.0, 11.0, 2))),)
    )
    found = run(all_go_on, np.array([0.0, 0.0005, 0.0006]))
    # The first goes on before those that came later begin; these meet in both stages.
    assert found.batch_rows.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert found.batch_at_s.tolist() == pytest.approx([0.0, 0.001, 0.011, 0.012])


def test_least_outstanding_waits_less_than_round_robin() -> None:
    arrival_s = draw_poisson(150.0, 40_000)
    names: tuple[BalancerName, ...] = ("least-outstanding", "round-robin")
    least, in_turn = (
        run(CASCADE, arrival_s, replace(FIXED, replicas=2, balancer=name)).latency_s.mean()
        for name in names
    )
    assert least < in_turn


def test_an_idle_fleet_takes_turns() -> None:
    found = run(ONE_BY_ONE, np.arange(0.0, 30.0), replace(FIXED, replicas=3))
    assert [pod.answered for pod in found.pods] == [10, 10, 10]


def test_no_request_is_lost_while_the_fleet_grows_and_shrinks() -> None:
    calm, rush = draw_poisson(30.0, 2_000, seed=3), draw_poisson(400.0, 20_000, seed=4)
    calm_again = draw_poisson(30.0, 3_000, seed=5)
    arrival_s = np.concatenate([calm, calm[-1] + rush, calm[-1] + rush[-1] + calm_again])
    found = run(ONE_BY_ONE, arrival_s, SCALING)
    replicas = [count for _, count in found.decisions]
    assert max(replicas) >= 6
    assert replicas[-1] < max(replicas)
    assert sum(pod.answered for pod in found.pods) == len(arrival_s)
    assert np.all(found.latency_s >= 0.01 - 1e-9)
    gone = [pod for pod in found.pods if pod.ended_s is not None]
    assert gone
    for pod in gone:
        assert pod.outstanding == 0
        if pod.draining_since_s is not None:
            assert pod.ended_s is not None
            assert pod.ended_s >= pod.draining_since_s + SCALING.drain_s


def test_replicas_follow_the_device_time_that_a_drift_doubles() -> None:
    arrival_s = draw_poisson(200.0, 60_000)
    costs = Costs(
        (RouteCosts("a", (StageCosts("s", 0.01, 0.01, 1, 0.4), StageCosts("l", 10.0, 10.0, 1))),)
    )
    usual, drifted = (run(costs, arrival_s, SCALING, drift) for drift in (None, Drift(0.0)))
    work = drifted.batch_s.sum() / usual.batch_s.sum()
    assert work == pytest.approx(2.0, rel=0.02)
    # 0.8 and 1.6 device seconds a second, at most 0.7 a pod but for the tolerance
    assert _mean_ready(usual) == pytest.approx(2.0, abs=0.5)
    assert _mean_ready(drifted) == pytest.approx(3.0, abs=0.7)


def _mean_ready(found: Run) -> float:
    """Return the mean number of ready pods in the second half of the run."""
    moments_s = np.linspace(found.end_s / 2, found.end_s * 0.99, 200)
    ready = [
        sum(
            pod.ready_s is not None
            and pod.ready_s <= at_s
            and (pod.draining_since_s is None or pod.draining_since_s > at_s)
            for pod in found.pods
        )
        for at_s in moments_s
    ]
    return float(np.mean(ready))


def test_the_same_run_twice_is_the_same_to_the_last_bit() -> None:
    arrival_s = draw_poisson(300.0, 20_000)
    first, again = (run(CASCADE, arrival_s, SCALING) for _ in range(2))
    assert np.array_equal(first.latency_s, again.latency_s)
    assert np.array_equal(first.batch_at_s, again.batch_at_s)
    assert first.decisions == again.decisions


def test_cached_requests_cost_the_event_loop_only() -> None:
    costs = Costs((replace(ONE_BY_ONE.routes[0], hit_rate=1.0),), network_ms=(1.0,))
    found = run(costs, np.arange(0.0, 10.0), replace(FIXED, overhead_s=0.002))
    assert found.latency_s.tolist() == pytest.approx([0.003] * 10)
    assert len(found.batch_s) == 0


def test_each_request_takes_one_of_the_measured_ways() -> None:
    costs = Costs((replace(ONE_BY_ONE.routes[0], hit_rate=1.0),), network_ms=(1.0, 1.0, 5.0))
    found = run(costs, np.arange(0.0, 3000.0), replace(FIXED, overhead_s=0.002))
    assert {round(one, 6) for one in found.latency_s.tolist()} == {0.003, 0.007}
    assert np.mean(found.latency_s > 0.005) == pytest.approx(1 / 3, abs=0.05)
