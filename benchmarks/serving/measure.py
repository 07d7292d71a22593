"""`python -m benchmarks.serving`: our server beside its baselines, in turns, in one run.

All servers run all the time; one at a time gets load. Every round measures every case once, every
other round in reverse order, so that a slow spell of the machine falls on all. The numbers go
to `benchmarks/results/` and, compared with the targets, to `docs/reports/serving.md`. Figures are
set above those of bare servers.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import LOADS, Table
from benchmarks.reporting.targets import FAULTS, Target, difference, each, ratio, value
from benchmarks.serving import cases as case_list
from benchmarks.serving.cases import Case
from benchmarks.serving.onnx_time import measure_onnx
from harness import small_cnn
from harness.load import loadgen
from harness.load.loadgen import Plan
from harness.pictures import load_pictures
from harness.process_tree import read_resident_bytes
from harness.results import Results, Sample
from harness.servers import Server, run_echo, run_no_op, run_servers, run_sparing

LOAD_METRICS = ("cpu_us", "requests_s", "p50_ms", "p99_ms", "requests", "errors", "wrong")
ONNX_BATCHES = (1, 32)
QUICK_PICTURES = 500  # of the cascade
BASELINES = ("echo", "echo-json", "no-op-grpc", "lone-echo", "large")
RIVALS = ("cascade", "cascade-no-rebatch", "large")
TARGETS = (
    Target("HTTP binary, 32 connections, small CNN: CPU a request above an echo and the network",
           lambda r: (each(r, "small-cnn-http", "cpu_us") - each(r, "echo", "cpu_us")
                      - each(r, "onnx-batch-32", "cpu_us")), 45, unit="µs"),
    Target("Answer from the cache, HTTP binary: CPU a request above an echo",
           difference("hit", "echo", "cpu_us"), 25, unit="µs"),
    Target("Answer from the cache, HTTP JSON: CPU a request above a JSON echo",
           difference("hit-json", "echo-json", "cpu_us"), 60, unit="µs"),
    Target("gRPC unary, 32 calls, small CNN: CPU a request without the network, of a no-op's",
           lambda r: (each(r, "small-cnn-grpc", "cpu_us") - each(r, "onnx-batch-32", "cpu_us"))
           / each(r, "no-op-grpc", "cpu_us"), 1.6, unit="×", digits=2),
    Target("One lone request, HTTP binary: p50 above an echo and the network",
           lambda r: (each(r, "lone-http", "p50_ms") - each(r, "lone-echo", "p50_ms")
                      - each(r, "onnx-batch-1", "p50_ms")), 0.25, unit="ms", digits=3),
    Target("Cascade at 64 connections: requests/s, of the batched large model's",
           ratio("cascade", "large", "requests_s"), at_least=2, unit="×", digits=2),
    Target("Cascade at 64 connections: p99, of the batched large model's",
           ratio("cascade", "large", "p99_ms"), 1, unit="×", digits=2),
    Target("All metrics on the cascade: CPU, of that without",
           ratio("cascade", "cascade-no-metrics", "cpu_us"), 1.05, unit="×", digits=3),
    Target("All metrics on an answer from the cache: more CPU",
           difference("hit", "hit-no-metrics", "cpu_us"), 6, unit="µs"),
    Target("Start to ready", value("start", "ready_s"), 3, unit="s", digits=2),
    Target("Resident memory after load", value("start", "resident_mb"), 200, unit="MB"),
    FAULTS,
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    """CPU a request of every case; requests/s and p99 of the cascade beside its rivals."""
    loads = [s.case for s in results.samples if s.metric == "cpu_us" and "onnx" not in s.case]
    return [
        Bars(title, cases, {metric: [results.median(case, metric) for case in cases]}, digits,
             BASELINES)
        for cases, metric, title, digits in (
            ([*dict.fromkeys(loads)], "cpu_us", "CPU of the server a request, µs", 1),
            (RIVALS, "requests_s", "requests/s at 64 connections", 0),
            (RIVALS, "p99_ms", "p99 at 64 connections, ms", 1),
        )
    ]  # fmt: skip


REPORT = Report("serving", "serving", "What serving costs", TARGETS, draw, [Table(LOADS)])


def measure_serving(options: argparse.Namespace, console: Console) -> list[Sample]:
    """Every case in every run."""
    load_pictures()  # before any server starts; the cascade's cases need them
    models, runs, seconds = options.models, options.runs, options.seconds
    limit = QUICK_PICTURES if options.quick else None
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder, ExitStack() as stack:
        work = Path(folder)
        served = gather_models(models, work)
        servers = stack.enter_context(_run_servers(served, work))
        console.print("preparing requests and their right answers ...")
        cases = case_list.build_http_cases(servers, served)
        cases += case_list.build_grpc_cases(servers, served)
        cases += case_list.build_cascade_cases(servers, served, limit)
        for run in range(runs):
            samples += measure_cases(cases, servers, work, run, seconds, console)
            samples += _time_onnx(served, run, seconds)
            with run_sparing(served, work / "default.toml") as one:
                samples.append(Sample("start", run, "ready_s", one.ready_s))
            largest = max(read_resident_bytes(servers[name].pid) for name in case_list.SETTINGS)
            samples.append(Sample("start", run, "resident_mb", largest / 1e6))
    return samples


def measure_cases(
    cases: Sequence[Case],
    servers: Mapping[str, Server],
    work: Path,
    run: int,
    seconds: float,
    console: Console,
) -> list[Sample]:
    """Every case once, every other run in reverse order; `work` is a folder for their traffic."""
    samples: list[Sample] = []
    for case in cases if run % 2 == 0 else reversed(cases):
        load = run_load(case, servers[case.server], work, seconds)
        samples += [Sample(case.name, run, name, load[name]) for name in LOAD_METRICS]
        console.print(
            f"run {run + 1} {case.name:20} {load['cpu_us']:7.1f} µs CPU "
            f"{load['requests_s']:8.0f}/s  p99 {load['p99_ms']:.2f} ms"
        )
    return samples


def gather_models(models: Path, work: Path) -> Path:
    """The shipped routes and the small CNN, in one directory to serve."""
    served = work / "models"
    for route in (case_list.CASCADE, case_list.LARGE):
        if not (models / route).is_dir():
            raise FileNotFoundError(f"{models} has no route {route}, which is to be measured")
        shutil.copytree(models / route, served / route)
    small_cnn.write_small_cnn(served)
    return served


def run_load(case: Case, server: Server, work: Path, seconds: float) -> dict[str, Any]:
    """The load generator as a process of its own; returns its numbers."""
    traffic = work / f"{case.name}.npz"
    if not traffic.exists():
        case.traffic.save(traffic)
    plan = Plan(case.connections, seconds, server_pid=server.pid, channels=case.channels)
    if case.method:
        load = loadgen.run_load(traffic, plan, port=server.grpc_port, method=case.method)
    else:
        load = loadgen.run_load(
            traffic, plan, port=server.http_port, path=case.path, headers=case.headers
        )
    if not load["requests"]:
        raise RuntimeError(f"{case.name}: nothing was answered, {load['errors']} errors")
    return load


@contextmanager
def _run_servers(served: Path, work: Path) -> Iterator[Mapping[str, Server]]:
    reply = work / "no-op-reply.bin"
    with run_servers(served, case_list.SETTINGS, work) as servers, run_echo() as echo:
        reply.write_bytes(case_list.make_no_op_reply(servers["no-memory"]))
        with run_no_op(reply) as no_op:
            yield servers | {"echo": echo, "no-op": no_op}


def _time_onnx(served: Path, run: int, seconds: float) -> list[Sample]:
    model = served / small_cnn.ROUTE / "1" / small_cnn.FILE
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # nothing else is in its memory
        found = pool.submit(measure_onnx, model, ONNX_BATCHES, seconds / 3).result()
    return [
        Sample(f"onnx-batch-{batch}", run, metric, value)
        for batch, numbers in found.items()
        for metric, value in numbers.items()
    ]


def main() -> None:
    run_benchmark(make_parser(__doc__, seconds=3.0), measure_serving, REPORT, runs=1, seconds=0.5)
