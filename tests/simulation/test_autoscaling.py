"""The autoscaler, against cases computed by hand from the formulas of Kubernetes."""

import pytest

from simulation.autoscaling import (
    Autoscaler,
    Metric,
    Policy,
    ScalingRules,
    parse_policy,
    propose_by_pods,
    propose_by_sum,
)

AT_ONCE = (Policy(1000, 15, False),)


@pytest.mark.parametrize(
    ("total", "replicas", "wanted"),
    [
        (1.4, 2, 2),  # at the target
        (1.53, 2, 2),  # 9 % above: within the tolerance
        (1.55, 2, 3),  # 11 % above: 1.55 / 0.7 = 2.2
        (1.27, 2, 2),  # 9 % below
        (0.6, 2, 1),
        (2.1, 2, 3),  # exactly three
        (0.0, 2, 0),
    ],
)
def test_a_sum_over_pods_is_divided_by_the_target(total: float, replicas: int, wanted: int) -> None:
    assert propose_by_sum(Metric(total, 0.7), replicas, 0.1) == wanted


@pytest.mark.parametrize(
    ("total", "ready", "starting", "wanted"),
    [
        (2.0, 2, 0, 3),  # 1.0 a pod is 1.43 of the target, times 2
        (1.5, 2, 0, 2),  # within the tolerance
        (2.0, 2, 1, 3),  # the one that starts counts 0: 2.0 / 2.1 is within the tolerance
        (2.0, 2, 3, 5),  # growing would turn into shrinking: nothing changes
        (6.0, 4, 1, 9),  # 6.0 / 3.5 = 1.71, times 5
        (0.4, 2, 2, 3),  # shrinking: (0.4 + 2 x 0.7) / 2.8 = 0.64, times 4
    ],
)
def test_pods_that_start_count_as_idle_or_as_at_the_target(
    total: float, ready: int, starting: int, wanted: int
) -> None:
    assert propose_by_pods(Metric(total, 0.7), ready, starting, 0.1) == wanted


def test_the_metric_that_asks_for_most_counts() -> None:
    scaler = Autoscaler(ScalingRules(up_policies=AT_ONCE))
    assert scaler.decide(15.0, [Metric(1.4, 0.7), Metric(0.1, 0.02)], 2, 0) == 5


def test_replicas_stay_within_their_limits() -> None:
    scaler = Autoscaler(ScalingRules(max_replicas=4, up_policies=AT_ONCE))
    assert scaler.decide(15.0, [Metric(70.0, 0.7)], 2, 0) == 4
    scaler = Autoscaler(
        ScalingRules(min_replicas=3, down_window_s=0.0, down_policies=(Policy(100, 15, True),))
    )
    assert scaler.decide(15.0, [Metric(0.0, 0.7)], 9, 0) == 3


def test_growth_is_limited_by_the_largest_policy_over_its_period() -> None:
    scaler = Autoscaler(ScalingRules(max_replicas=100))
    many = [Metric(70.0, 0.7)]
    assert scaler.decide(15.0, many, 2, 0) == 4  # 100 % of 2, and 2 pods
    assert scaler.decide(30.0, many, 2, 2) == 4  # the period began with 2
    assert scaler.decide(45.0, many, 4, 0) == 8
    assert scaler.decide(75.0, many, 8, 0) == 16


def test_shrinking_waits_for_the_window_and_then_for_the_policy() -> None:
    scaler = Autoscaler(ScalingRules(min_replicas=1, max_replicas=100))
    assert scaler.decide(0.0, [Metric(7.0, 0.7)], 10, 0) == 10
    decided = [scaler.decide(at, [Metric(0.7, 0.7)], 10, 0) for at in (15.0, 150.0, 285.0)]
    assert decided == [10, 10, 10]
    assert scaler.decide(300.0, [Metric(0.7, 0.7)], 10, 0) == 7  # a quarter of 10 is 2.5, 7.5 stay
    assert scaler.decide(315.0, [Metric(0.7, 0.7)], 7, 0) == 7  # the minute began with 10
    assert scaler.decide(361.0, [Metric(0.7, 0.7)], 7, 0) == 5


def test_growing_waits_for_its_window() -> None:
    scaler = Autoscaler(ScalingRules(up_window_s=60.0, up_policies=AT_ONCE))
    assert scaler.decide(0.0, [Metric(1.4, 0.7)], 2, 0) == 2
    assert scaler.decide(30.0, [Metric(2.8, 0.7)], 2, 0) == 2
    assert scaler.decide(60.0, [Metric(2.1, 0.7)], 2, 0) == 3  # the least of the last minute


def test_without_policies_nothing_limits_a_change() -> None:
    scaler = Autoscaler(ScalingRules(max_replicas=100, up_policies=()))
    assert scaler.decide(15.0, [Metric(35.0, 0.7)], 2, 0) == 50


def test_hpa_uses_the_formula_of_pods() -> None:
    scaler = Autoscaler(ScalingRules(kind="hpa", up_policies=AT_ONCE))
    assert scaler.decide(15.0, [Metric(2.0, 0.7)], 2, 3) == 5
    scaler = Autoscaler(ScalingRules(kind="keda", up_policies=AT_ONCE, down_window_s=0.0))
    assert scaler.decide(15.0, [Metric(4.2, 0.7)], 2, 3) == 6


def test_without_a_scaler_nothing_changes() -> None:
    assert Autoscaler(ScalingRules(kind="none")).decide(15.0, [Metric(70.0, 0.7)], 2, 1) == 3


def test_policies_are_read() -> None:
    assert parse_policy("100%/30") == Policy(100, 30, True)
    assert parse_policy("2/60") == Policy(2, 60, False)
    for wrong in ("", "2", "2/0", "-1/30", "2/30s", "%/30"):
        with pytest.raises(ValueError, match="allowed pods or per cent"):
            parse_policy(wrong)
