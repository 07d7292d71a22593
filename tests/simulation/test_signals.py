"""The autoscaler's metrics, as Prometheus would compute them from counters of pods."""

import pytest

from simulation.pod import Pod
from simulation.signals import Signals


def make_pod(number: int) -> Pod:
    return Pod(number, [], [], 0.0)


def test_rates_are_over_the_window_and_summed_over_pods() -> None:
    signals = Signals(window_s=60.0)
    first, second = make_pod(0), make_pod(1)
    first.busy_s, first.queue_s, first.answered = 6.0, 2.0, 10
    second.busy_s = 3.0
    assert signals.read(15.0, [first, second]) == pytest.approx((9.0 / 15, 0.2))
    first.busy_s, first.queue_s, first.answered = 12.0, 2.5, 20
    assert signals.read(60.0, [first, second]) == pytest.approx((15.0 / 60, 2.5 / 20))
    first.busy_s = 30.0
    assert signals.read(75.0, [first, second]) == pytest.approx((24.0 / 60, 0.5 / 10))


def test_a_young_pod_counts_with_the_whole_window_and_a_removed_one_not_at_all() -> None:
    signals = Signals(window_s=60.0)
    old, young = make_pod(0), make_pod(1)
    old.busy_s = 30.0
    signals.read(60.0, [old])
    old.busy_s, young.busy_s = 60.0, 6.0
    assert signals.read(120.0, [old, young])[0] == pytest.approx(30.0 / 60 + 6.0 / 60)
    assert signals.read(135.0, [young])[0] == pytest.approx(6.0 / 75)
