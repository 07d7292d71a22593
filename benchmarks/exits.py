"""`python -m benchmarks.exits`: a large net with two early exits beside the same net without.

The shipped `fashion-mnist-large` keeps its weights; two exits are trained on it first, a few
epochs, and kept in `runs/`. Both answer the same test pictures through the real server, cache off,
64 connections each, in turns: rows that stay are batched again at every exit. A third server has
that switched off.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import FAULTS, Target, difference, ratio, value
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
from harness.results import Results, Sample
from harness.servers import Server, count_spent, run_servers
from harness.stage_time import open_route, run_stages
from training.data.sets import load_data

DATA, NET = "fashion-mnist", "cnn-36m"
ROUTE = f"{DATA}-exits"
RUNS = Path("runs/exits-bench")
SERVERS = ("no-memory", "no-memory-no-rebatch")
QUICK_PICTURES = 500
WHOLE, EXITS, NO_REBATCH = "whole", "exits", "exits-no-rebatch"
WORDS = {
    WHOLE: "the net without exits, batched",
    EXITS: "with two exits, batched again at each",
    NO_REBATCH: "with two exits, alone behind the first",
}
COLUMNS = plain({
    "accuracy": "accuracy",
    "macs": "MACs/picture",
    "reached_1": "reach stage 1",
    "reached_2": "reach stage 2",
    "reached_3": "reach stage 3",
    "device_us": "device µs/picture",
    "cpu_us": "CPU µs/request",
    "requests_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
})  # fmt: skip
TARGETS = (
    Target("Batched device time of the net without exits", value(WHOLE, "device_us"),
           at_least=500, unit="µs a picture", digits=0),
    Target("Requests/s with two exits, of the same net's without",
           ratio(EXITS, WHOLE, "requests_s"), at_least=1.5, unit="×", digits=2),
    Target("Accuracy lost by leaving early", difference(WHOLE, EXITS, "accuracy", 100), 0.5,
           unit="points", digits=2),
    Target("p99 with two exits, of the same net's without", ratio(EXITS, WHOLE, "p99_ms"), 1,
           unit="×", digits=2),
    FAULTS,
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    return [
        Bars(title, [*WORDS.values()], {metric: [results.median(case, metric) for case in WORDS]},
             grey={WORDS[WHOLE]})
        for metric, title in (("requests_s", "requests/s at 64 connections"),
                              ("device_us", "time inside the stages a picture, µs"))
    ]  # fmt: skip


REPORT = Report("exits", "exits", "What early exits save", TARGETS, draw, [Table(COLUMNS)])


def measure_exits(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    test = load_data(DATA).test
    count = QUICK_PICTURES if options.quick else len(test.labels)
    pictures, labels = test.pictures[:count], test.labels[:count]
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder:
        work = Path(folder)
        served = gather_routes(options.models, work, options.epochs, console)
        yield from judge_offline(served, pictures, labels)
        yield from measure(served, pictures, options.runs, options.seconds, work, console)


def gather_routes(models: Path, work: Path, epochs: int, console: Console) -> Path:
    """The large net and the same with exits, in one directory to serve."""
    from training.exits import train  # it needs torch, the report does not
    from training.export.exit_route import Options

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
    with run_servers(served, {name: SETTINGS[name] for name in SERVERS}, work) as servers:
        cases = list(list_cases(served, servers, pictures))
        for run in range(runs):
            for case, route in cases if run % 2 == 0 else reversed(cases):
                counters = {
                    "seconds": ("sparing_stage_seconds_sum", {"route": route}),
                    "rows": ("sparing_rows_total", {"route": route}),
                }
                with count_spent(servers[case.server], counters) as spent:
                    found = run_load(case, servers[case.server], work, seconds)
                found["device_us"] = spent["seconds"] / spent["rows"] * 1e6
                samples += [Sample(case.name, run, name, found[name])
                            for name in (*LOAD_METRICS, "device_us")]  # fmt: skip
                console.print(
                    f"run {run + 1} {case.name:20} {found['requests_s']:6.0f}/s "
                    f"{found['device_us']:6.0f} device µs a picture, p99 {found['p99_ms']:.1f} ms"
                )
    return samples


def list_cases(
    served: Path, servers: Mapping[str, Server], pictures: Pictures
) -> Iterator[tuple[Case, str]]:
    """The cases and the route that each asks, which must answer as it does without a server."""
    labels = {route: label_offline(served, route, pictures) for route in (LARGE, ROUTE)}
    for name, server, route in (
        (WHOLE, SERVERS[0], LARGE),
        (EXITS, SERVERS[0], ROUTE),
        (NO_REBATCH, SERVERS[1], ROUTE),
    ):
        traffic, headers = make_binary_traffic(servers[server], route, pictures, labels[route])
        path = f"/v2/models/{route}/infer"
        yield Case(name, server, CASCADE_CONNECTIONS, traffic, path, headers), route


if __name__ == "__main__":
    parser = make_parser(__doc__, seconds=4.0)
    parser.add_argument("--epochs", type=int, default=4, help="of the exits' training")
    run_benchmark(parser, measure_exits, REPORT, runs=1, seconds=0.5, epochs=1)
