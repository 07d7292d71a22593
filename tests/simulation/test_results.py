"""Figures of a run: time in buckets, totals, price and joules."""

import json
from pathlib import Path

import numpy as np
import pytest

from simulation.plotting import plot
from simulation.pod import Pod
from simulation.results import Prices, count_most, integrate, summarise
from simulation.simulator import Run


def make_run() -> Run:
    """Two pods for a minute; the second is there for its last 30 s, created at 20 s."""
    first, second = Pod(0, [], [], 0.0), Pod(1, [], [], 20.0)
    first.ready_s, second.ready_s = 0.0, 30.0
    return Run(
        arrival_s=np.array([0.0, 10.0, 50.0]),
        latency_s=np.array([0.002, 0.004, 10.0]),
        batch_at_s=np.array([0.0, 25.0]),
        batch_s=np.array([6.0, 12.0]),
        batch_rows=np.array([1.0, 2.0]),
        pods=[first, second],
        end_s=60.0,
        decisions=[(20.0, 2)],
    )


def test_time_is_counted_in_the_bucket_in_which_it_passed() -> None:
    spans = np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 9.0]])
    assert integrate(spans, np.array([0.0, 2.0, 4.0, 10.0])).tolist() == [3.0, 3.0, 5.0]
    assert integrate(np.zeros((0, 2)), np.array([0.0, 1.0])).tolist() == [0.0]


def test_spans_that_meet_do_not_overlap() -> None:
    assert count_most([(0.0, 1.0), (1.0, 2.0), (0.5, 1.0)]) == 2
    assert count_most([]) == 0


def test_buckets_say_replicas_rates_latency_and_busy_time() -> None:
    first, second = summarise(make_run(), Prices(), 2).buckets
    assert (first.start_s, first.replicas, second.replicas) == (0.0, 1.0, 2.0)
    assert first.requests_s == pytest.approx(2 / 30)
    assert first.p50_ms == pytest.approx(3.0)
    assert first.busy == pytest.approx(11.0 / 30)  # 6 s, and 5 s of the batch that began at 25 s
    assert second.busy == pytest.approx(7.0 / 60)
    assert second.in_flight == pytest.approx(10.0 / 30)


def test_a_bucket_without_requests_has_no_latency() -> None:
    buckets = summarise(make_run(), Prices(), 6).buckets
    assert [bucket.p99_ms is None for bucket in buckets] == [False, False, True, True, True, False]


def test_price_and_joules_follow_pod_hours_and_busy_seconds() -> None:
    totals = summarise(make_run(), Prices(0.5, 10.0, 4.0), 1).totals
    assert totals.pod_hours == pytest.approx(100.0 / 3600)  # the second one exists from 20 s on
    assert totals.price == pytest.approx(0.5 * 100.0 / 3600)
    assert totals.price_per_million == pytest.approx(0.5 * 100.0 / 3600 * 1e6 / 3)
    assert totals.joules == pytest.approx(10.0 * 100 + 4.0 * 18)
    assert totals.joules_per_request == pytest.approx((1000 + 72) / 3)
    assert totals.busy == pytest.approx(18.0 / 90)
    assert totals.most_replicas == 2
    assert totals.mean_batch_rows == 1.5


def test_without_prices_there_is_neither_cost_nor_energy() -> None:
    totals = summarise(make_run(), Prices(), 1).totals
    assert totals.price is None
    assert totals.joules is None


def test_a_summary_is_json() -> None:
    summary = summarise(make_run(), Prices(), 6)
    assert json.loads(json.dumps(summary.as_json()))["buckets"][2]["p50_ms"] is None


def test_a_picture_is_written_and_a_wrong_place_is_one_sentence(tmp_path: Path) -> None:
    summary = summarise(make_run(), Prices(), 6)
    plot(summary, tmp_path / "run.png", "a run")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="cannot be written"):
        plot(summary, tmp_path / "absent" / "run.png", "a run")
    with pytest.raises(ValueError, match="cannot be written"):
        plot(summary, tmp_path / "run.abc", "a run")
