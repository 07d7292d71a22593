"""`python -m benchmarks.serving`: our server beside its baselines, in turns, in one run.

All servers run all the time; one at a time gets load. Every round measures every case once, every
other round in reverse order, so that a machine that changes its mood does so to all. The numbers go
to `benchmarks/results/` and, compared with the targets, to `docs/reports/serving.md`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.serving import cases as case_list
from benchmarks.serving.cases import Case
from benchmarks.serving.report import REPORT
from harness import small_cnn
from harness.pictures import load_pictures
from harness.process_tree import read_resident_bytes
from harness.results import Sample
from harness.servers import Server, run_echo, run_no_op, run_servers, run_sparing

LOAD_METRICS = ("cpu_us", "requests_s", "p50_ms", "p99_ms", "requests", "errors", "wrong")
ONNX_BATCHES = (1, 32)
QUICK_PICTURES = 500  # of the cascade


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
            samples += _measure_start(served, work, run)
            samples += [_measure_memory(servers, run)]
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


def run_load(case: Case, server: Server, work: Path, seconds: float) -> dict[str, float]:
    """The load generator as a process of its own; returns its numbers."""
    port = server.grpc_port if case.method else server.http_port
    traffic = work / f"{case.name}.npz"
    if not traffic.exists():
        case.traffic.save(traffic)
    command = [sys.executable, "-m", "harness.load.loadgen", "--port", str(port)]
    command += ["--traffic", str(traffic), "--seconds", str(seconds)]
    command += ["--connections", str(case.connections), "--server-pid", str(server.pid)]
    command += ["--channels", str(case.channels)]
    command += ["--method", case.method] if case.method else ["--path", case.path]
    for header in case.headers:
        command += ["--header", header]
    load = _run_for_json(command)
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
    command = [sys.executable, "-m", "benchmarks.serving.onnx_time", str(model)]
    command += ["--seconds", str(seconds / 3), "--batches", *map(str, ONNX_BATCHES)]
    return [
        Sample(f"onnx-batch-{batch}", run, metric, value)
        for batch, numbers in _run_for_json(command).items()
        for metric, value in numbers.items()
    ]


def _measure_start(served: Path, work: Path, run: int) -> list[Sample]:
    with run_sparing(served, work / "default.toml") as server:
        return [Sample("start", run, "ready_s", server.ready_s)]


def _measure_memory(servers: Mapping[str, Server], run: int) -> Sample:
    """The largest of our servers, after all load of the round."""
    largest = max(read_resident_bytes(servers[name].pid) for name in case_list.SETTINGS)
    return Sample("start", run, "resident_mb", largest / 1e6)


def _run_for_json(command: Sequence[str]) -> dict[str, Any]:  # whatever the JSON holds
    finished = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def main() -> None:
    run_benchmark(make_parser(__doc__, seconds=3.0), measure_serving, REPORT, runs=1, seconds=0.5)
