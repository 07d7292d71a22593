"""`python -m benchmarks.exits`: a large net with two early exits beside the same net without.

The shipped `fashion-mnist-large` keeps its weights; two exits are trained on it first, a few
epochs, and kept in `runs/`. Both answer the same test pictures through the real server, cache off,
64 connections each, in turns: rows that stay are batched again at every exit. A third server has
that switched off.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.exits.report import EXITS, NO_REBATCH, REPORT, WHOLE
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.serving.cases import (
    CASCADE_CONNECTIONS,
    LARGE,
    SETTINGS,
    Case,
    label_offline,
    make_binary_traffic,
)
from benchmarks.serving.measure import LOAD_METRICS, run_load
from harness.load.traffic import Labels, Pictures
from harness.results import Sample
from harness.servers import Server, read_metrics, run_servers, sum_metric
from harness.stage_time import open_route, run_stages
from training.data.sets import load_data
from training.exits import train
from training.export.exit_route import Options

DATA, NET = "fashion-mnist", "cnn-36m"
ROUTE = f"{DATA}-exits"
RUNS = Path("runs/exits-bench")
SERVERS = ("no-memory", "no-memory-no-rebatch")
QUICK_PICTURES = 500


def measure_exits(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    test = load_data(DATA).test
    count = QUICK_PICTURES if options.quick else len(test.labels)
    pictures, labels = test.pictures[:count], test.labels[:count]
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder:
        work = Path(folder)
        served = gather_routes(options.models, work, options.epochs, console)
        yield from judge_offline(served, pictures, labels)
        yield from measure(served, pictures, options.runs, options.seconds, work, console)


def main() -> None:
    parser = make_parser(__doc__, seconds=4.0)
    parser.add_argument("--epochs", type=int, default=4, help="of the exits' training")
    run_benchmark(parser, measure_exits, REPORT, runs=1, seconds=0.5, epochs=1)


def gather_routes(models: Path, work: Path, epochs: int, console: Console) -> Path:
    """The large net and the same with exits, in one directory to serve."""
    weights = models / LARGE / "1" / f"{NET}.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing: the net that exits are to be put on")
    served = work / "models"
    shutil.copytree(models / LARGE, served / LARGE)
    train(
        DATA,
        served,
        RUNS / f"{epochs}-epochs",
        options=Options(net=NET, trained=weights, frozen=True, self_distillation=True),
        epochs=epochs,
        threads=2,
        console=console,
    )
    return served


def judge_offline(served: Path, pictures: Pictures, labels: Labels) -> Iterator[Sample]:
    """Accuracy, MACs a picture, and the share of rows that reach each stage."""
    for case, route in ((WHOLE, LARGE), (EXITS, ROUTE)):
        ran = run_stages(open_route(served, route).pipeline, pictures, 32)
        yield Sample(case, 0, "accuracy", float(np.mean(ran.labels == labels)))
        yield Sample(case, 0, "macs", sum(ran.macs.values()) / len(labels))
        for number, rows in enumerate(ran.rows.values(), 1):
            yield Sample(case, 0, f"reached_{number}", rows / len(labels))


def measure(
    served: Path, pictures: Pictures, runs: int, seconds: float, work: Path, console: Console
) -> list[Sample]:
    """Every case once a run, every other run in reverse order."""
    samples: list[Sample] = []
    settings = {name: SETTINGS[name] for name in SERVERS}
    with run_servers(served, settings, work) as servers:
        cases = list(list_cases(served, servers, pictures))
        for run in range(runs):
            for case, route in cases if run % 2 == 0 else reversed(cases):
                found = measure_case(case, route, servers[case.server], work, seconds)
                samples += [Sample(case.name, run, name, value) for name, value in found.items()]
                console.print(
                    f"run {run + 1} {case.name:20} {found['requests_s']:6.0f}/s "
                    f"{found['device_us']:6.0f} device µs a picture, p99 {found['p99_ms']:.1f} ms"
                )
    return samples


def list_cases(
    served: Path, servers: Mapping[str, Server], pictures: Pictures
) -> Iterator[tuple[Case, str]]:
    """The cases and the route that each asks, which must answer as it does without a server."""
    labels: dict[str, Sequence[int]] = {
        route: label_offline(served, route, pictures) for route in (LARGE, ROUTE)
    }
    for name, server, route in (
        (WHOLE, SERVERS[0], LARGE),
        (EXITS, SERVERS[0], ROUTE),
        (NO_REBATCH, SERVERS[1], ROUTE),
    ):
        traffic, headers = make_binary_traffic(servers[server], route, pictures, labels[route])
        path = f"/v2/models/{route}/infer"
        yield Case(name, server, CASCADE_CONNECTIONS, traffic, path, headers), route


def measure_case(
    case: Case, route: str, server: Server, work: Path, seconds: float
) -> dict[str, float]:
    """One load, and the seconds inside the route's stages for each picture of it."""
    before = _read_totals(server, route)
    load = run_load(case, server, work, seconds)
    after = _read_totals(server, route)
    device_us = (after["seconds"] - before["seconds"]) / (after["rows"] - before["rows"]) * 1e6
    return {name: load[name] for name in LOAD_METRICS} | {"device_us": device_us}


def _read_totals(server: Server, route: str) -> Mapping[str, float]:
    """So far: seconds inside the route's stages, and rows answered."""
    samples = list(read_metrics(server.http_port))
    return {
        "seconds": sum_metric(samples, "sparing_stage_seconds_sum", route=route),
        "rows": sum_metric(samples, "sparing_rows_total", route=route),
    }
