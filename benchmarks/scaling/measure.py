"""Measures one and two server processes behind haproxy, and simulates the same arrivals.

Costs come from loads on one process at a tenth of what it could do: times of batches and escalation
from the server itself, the event loop's time from CPU that no stage used. What the simulator's
latencies then lack of the real ones is the way through haproxy, with all that has to wake up for a
request on a machine that sleeps between two; the cases draw from these differences. The rate of
each case is a share of what its processes could do one request at a time. Latency counts from when
a request was due, so that a slow client hides nothing.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import uvloop
from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Target, ratio
from benchmarks.scaling.arrivals import Arrivals, draw_arrivals
from harness.load.loadgen import build_requests
from harness.load.once import ask_once
from harness.results import Results, Sample
from harness.servers import Counters, Server, count_spent, run_servers
from harness.services.haproxy_server import HaproxyServer
from simulation.autoscaling import Autoscaler, Metric, ScalingRules
from simulation.costs import MAX_DRAWN, Costs, choose_routes
from simulation.results import Prices, summarise
from simulation.simulator import FleetPlan, Run, simulate
from simulation.trace import Floats
from simulation.workload import make_workload
from sparing.simulating import read_server

ROUTES = ("fashion-mnist-large", "fashion-mnist")
REPLICAS = (1, 2)
LOADS = (0.3, 0.6)
CONNECTIONS = 64
LONE_REQUESTS = 200
LEARNING_LOAD = 0.1
SETTINGS = "[cache]\nenabled = false\n"
COUNTERS: Counters = {
    "busy_s": ("sparing_stage_seconds_sum", {}),
    "queue_s": ("sparing_queue_seconds_sum", {}),
    "rows": ("sparing_rows_total", {}),
}
RULES = ScalingRules(min_replicas=1, max_replicas=100, up_policies=(), down_window_s=0.0)
TARGET_BUSY, TARGET_DELAY_S = 0.7, 0.02


class Figures(NamedTuple):
    """Of one load, real or simulated."""

    p50_ms: float
    p99_ms: float
    busy: float  # device seconds a second and process
    delay_ms: float  # mean wait in queues
    replicas: float  # that the autoscaler would ask for


def name_case(route: str, replicas: int, load: float) -> str:
    return f"{route}, {replicas} at {load:.0%}"


CASES = [
    name_case(route, replicas, load) for route in ROUTES for replicas in REPLICAS for load in LOADS
]


def apart(case: str, metric: str) -> Figure:
    """By how many per cent the simulator is off."""
    off = ratio(f"{case}, simulated", case, metric)
    return lambda results: 100.0 * np.abs(off(results) - 1.0)


TARGETS = (
    *(
        Target(f"Simulated {words} off the real run's: {case}", apart(case, metric), 20, unit="%")
        for case in CASES
        for metric, words in (("p99_ms", "p99"), ("replicas", "replica count"))
    ),
)


def draw(results: Results) -> list[Panel]:
    """Both p99 side by side."""
    return [
        Bars("p99, ms", CASES, {
            words: [results.median(f"{case}{kind}", "p99_ms") for case in CASES]
            for words, kind in (("real", ""), ("simulated", ", simulated"))
        }, 2),
    ]  # fmt: skip


COLUMNS = plain({
    "requests_s": "requests/s", "p50_ms": "p50 ms", "p99_ms": "p99 ms",
    "busy": "device s/s", "delay_ms": "mean queue ms", "replicas": "replicas asked for",
})  # fmt: skip
REPORT = Report(
    "scaling", "kubernetes", "The simulator and real processes", TARGETS, draw, [Table(COLUMNS)]
)


def measure_scaling(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    with ExitStack() as stack:
        work = Path(stack.enter_context(TemporaryDirectory()))
        settings = {f"pod{number}": SETTINGS for number in range(max(REPLICAS))}
        servers = [*stack.enter_context(run_servers(options.models, settings, work)).values()]
        proxies = {
            count: stack.enter_context(
                HaproxyServer([server.http_port for server in servers[:count]])
            )
            for count in REPLICAS
        }
        for route in ROUTES:
            costs = learn_costs(servers[0], proxies[1].port, route, options.seconds)
            console.print(f"{route}: {costs.routes}, lacking {np.median(costs.network_ms):.2f} ms")
            for run in range(options.runs):
                for count in REPLICAS:
                    for load in LOADS:
                        case = name_case(route, count, load)
                        rate = count * load / one_by_one_s(costs)
                        arrivals = draw_arrivals(rate, options.seconds, run)
                        real = replay(servers[:count], proxies[count].port, route, arrivals)
                        ours = predict(costs, arrivals.due_s, count, run)
                        console.print(f"{case}: real {real}, simulated {ours}")
                        yield from list_samples(case, run, rate, real)
                        yield from list_samples(f"{case}, simulated", run, rate, ours)


def list_samples(case: str, run: int, rate: float, found: Figures) -> Iterator[Sample]:
    yield Sample(case, run, "requests_s", rate)
    for metric, value in found._asdict().items():
        yield Sample(case, run, metric, value)


def learn_costs(server: Server, port: int, route: str, seconds: float) -> Costs:
    """Return the costs of the route, from lone requests and from a light load on one process."""
    lone = draw_arrivals(LONE_REQUESTS / seconds, seconds, 0)
    lone = replace(lone, due_s=np.zeros(len(lone.due_s)))  # each as soon as the last is answered
    _ask(port, route, lone, 1)
    costs = choose_routes(read_server(f"http://127.0.0.1:{server.http_port}"), {route: None})
    load = draw_arrivals(LEARNING_LOAD / one_by_one_s(costs), seconds, 0)
    with count_spent(server, COUNTERS) as spent:
        latency_s = _ask(port, route, load, CONNECTIONS)
    costs = choose_routes(read_server(f"http://127.0.0.1:{server.http_port}"), {route: None})
    overhead_s = max(0.0, spent["cpu_s"] - spent["busy_s"]) / max(1.0, spent["rows"])
    costs = replace(costs, overhead_ms=overhead_s * 1e3)
    simulated = _simulate(costs, load.due_s, 1, 0).latency_s
    lacking_s = np.maximum(0.0, np.sort(latency_s) - np.sort(simulated))
    some_s = lacking_s[:: 1 + len(lacking_s) // MAX_DRAWN]
    return replace(costs, network_ms=tuple((some_s * 1e3).tolist()))


def one_by_one_s(costs: Costs) -> float:
    """Return the mean seconds of a request on one process if no batch had two rows: of the device
    or of the event loop, whichever is longer.
    """
    (route,) = costs.routes
    device_ms = sum(
        share * stage.one_row_ms
        for share, stage in zip(route.list_reached(), route.stages, strict=True)
    )
    return max(device_ms, costs.overhead_ms) / 1e3


def replay(servers: Sequence[Server], port: int, route: str, arrivals: Arrivals) -> Figures:
    """Send the requests when they are due, and read what the servers counted meanwhile."""
    with ExitStack() as stack:
        spent = [stack.enter_context(count_spent(server, COUNTERS)) for server in servers]
        latency_s = _ask(port, route, arrivals, CONNECTIONS)
    seconds = float(arrivals.due_s[-1])
    return judge(
        latency_s,
        [one["busy_s"] / seconds for one in spent],
        [one["queue_s"] / one["rows"] if one["rows"] else 0.0 for one in spent],
    )


def predict(costs: Costs, due_s: Floats, replicas: int, seed: int) -> Figures:
    """Simulate the same requests on as many pods."""
    run = _simulate(costs, due_s, replicas, seed)
    assert summarise(run, Prices(), 1).totals.most_replicas == replicas
    seconds = float(due_s[-1])
    return judge(
        run.latency_s,
        [pod.busy_s / seconds for pod in run.pods],
        [pod.queue_s / pod.answered if pod.answered else 0.0 for pod in run.pods],
    )


def _simulate(costs: Costs, due_s: Floats, replicas: int, seed: int) -> Run:
    plan = FleetPlan(
        rules=ScalingRules(kind="none"), replicas=replicas, overhead_s=costs.overhead_ms / 1e3
    )
    return simulate(make_workload(costs, due_s, seed), plan)


def judge(latency_s: Floats, busy: Sequence[float], delay_s: Sequence[float]) -> Figures:
    """Return the figures; the autoscaler sees each pod's busy share and mean queue delay."""
    metrics = (Metric(sum(busy), TARGET_BUSY), Metric(sum(delay_s), TARGET_DELAY_S))
    p50, p99 = np.percentile(latency_s, (50, 99)) * 1e3
    asked_for = Autoscaler(RULES).decide(60.0, metrics, len(busy), 0)
    mean_delay_ms = 1e3 * sum(delay_s) / len(delay_s)
    return Figures(float(p50), float(p99), sum(busy) / len(busy), mean_delay_ms, asked_for)


def _ask(port: int, route: str, arrivals: Arrivals, connections: int) -> Floats:
    """Return each request's latency: from when it was due, or was sent if it was due at once."""
    path = f"/v2/models/{route}/infer"
    requests = build_requests(arrivals.bodies, port, path, arrivals.headers)
    due_s = arrivals.due_s
    done = uvloop.run(ask_once(port, requests, connections, due_s.tolist() if due_s.any() else ()))
    latency_s = np.array(done.latencies_s)
    return latency_s + np.maximum(0.0, np.array(done.asked_s) - due_s) if due_s.any() else latency_s


def main() -> None:
    run_benchmark(
        make_parser(__doc__, runs=3, seconds=30.0), measure_scaling, REPORT, runs=1, seconds=2.0
    )
