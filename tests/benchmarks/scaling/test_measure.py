"""The benchmark of scaling: its arithmetic, its targets, and a short run behind a real haproxy."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scaling.arrivals import draw_arrivals
from benchmarks.scaling.measure import (
    CASES,
    REPORT,
    Figures,
    judge,
    list_samples,
    one_by_one_s,
    predict,
    replay,
)
from harness.results import Results, Sample
from harness.servers import run_servers
from harness.services.haproxy_server import HaproxyServer
from simulation.costs import Costs, RouteCosts, StageCosts

ROOT = Path(__file__).parents[3]


def measured(p99: float = 1.1, replicas: int = 1) -> Results:
    samples: list[Sample] = []
    for case in CASES:
        samples += list_samples(case, 0, 100.0, Figures(1.0, 10.0, 0.5, 1.0, 1))
        ours = Figures(1.0, 10.0 * p99, 0.5, 1.0, replicas)
        samples += list_samples(f"{case}, simulated", 0, 100.0, ours)
    return Results({}, samples)


def test_a_number_past_its_limit_is_a_miss() -> None:
    assert all(row.met for row in REPORT.judge(measured()))
    for found in (measured(p99=1.3), measured(p99=0.7), measured(replicas=2)):
        assert sum(not row.met for row in REPORT.judge(found)) == len(CASES)


def test_arrivals_have_the_rate_and_the_length_asked_for() -> None:
    for rate in (10.0, 5000.0):
        found = draw_arrivals(rate, 2.0, seed=1)
        assert len(found.bodies) == len(found.due_s) == rate * 2
        assert found.due_s[-1] == pytest.approx(2.0)
        assert np.all(np.diff(found.due_s) >= 0)


def test_a_process_does_what_its_device_or_its_event_loop_can() -> None:
    stages = (StageCosts("s", 1.0, 4.0, 16, 0.25), StageCosts("l", 10.0, 40.0, 8))
    costs = Costs((RouteCosts("a", stages),), overhead_ms=0.1)
    assert one_by_one_s(costs) == pytest.approx(0.0035)
    assert one_by_one_s(Costs(costs.routes, overhead_ms=5.0)) == pytest.approx(0.005)


def test_the_autoscaler_judges_the_same_figures_of_both() -> None:
    found = judge(np.array([0.001, 0.003]), [0.9, 0.9], [0.001, 0.003])
    assert found == pytest.approx(Figures(2.0, 2.98, 0.9, 2.0, 3))
    costs = Costs((RouteCosts("a", (StageCosts("s", 10.0, 10.0, 1),)),))
    ours = predict(costs, np.arange(1, 101) / 100.0, 2, 1)
    assert [ours.p99_ms, ours.busy] == pytest.approx([10.0, 0.5])


@pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="needs haproxy: apt-get install haproxy"
)
def test_two_processes_behind_haproxy_answer_every_request(tmp_path: Path) -> None:
    settings = dict.fromkeys(("first", "second"), "")
    with run_servers(ROOT / "models", settings, tmp_path) as servers:
        both = [*servers.values()]
        with HaproxyServer([server.http_port for server in both], "roundrobin") as proxy:
            found = replay(both, proxy.port, "fashion-mnist", draw_arrivals(100.0, 0.5, 1))
    assert found.p99_ms > 0.0
    assert found.busy > 0.0
