"""`python -m benchmarks.sizing`: what a pod of each shipped route needs.

A server with that route alone answers test pictures, one a request, over 64 connections, without
the cache. Its resident memory is read after the load. Needs the data sets (SPARING_DATA).
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks.peers.cases import build_case
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import FAULTS
from benchmarks.serving.cases import CASCADE_CONNECTIONS, label_offline
from benchmarks.serving.measure import LOAD_METRICS, run_load
from harness.process_tree import read_resident_bytes
from harness.results import Results, Sample
from harness.servers import Server, run_servers
from training.data.sets import SOURCES, load_data

PICTURES = 2048
SETTINGS = {"server": "[cache]\nenabled = false\n"}
COLUMNS = plain({
    "cpu_us": "CPU µs/request",
    "core_requests_s": "requests/s for one core",
    "p99_ms": "p99 ms",
    "resident_mb": "resident MB",
})  # fmt: skip


def find_data(route: str) -> str:
    """Return the name of the data set whose name the route's begins with."""
    return max((name for name in SOURCES if route.startswith(name)), key=len)


def draw(results: Results) -> list[Panel]:
    """CPU of a request to each route."""
    routes = results.cases()
    return [
        Bars(
            "CPU of a request with one picture, µs",
            routes,
            {"": [results.median(route, "cpu_us") for route in routes]},
        )
    ]


REPORT = Report("sizing", "kubernetes", "Size of a pod", (FAULTS,), draw, [Table(COLUMNS)])


@contextmanager
def serve_alone(models: Path, route: str) -> Iterator[tuple[Path, Path, Server]]:
    """A server with one route; also its models and a folder for the load."""
    with tempfile.TemporaryDirectory(prefix="sparing-sizing-") as folder:
        work = Path(folder)
        served = work / "models"
        shutil.copytree(models / route, served / route)
        with run_servers(served, SETTINGS, work) as servers:
            yield served, work, servers["server"]


def measure_route(models: Path, route: str, seconds: float, run: int) -> Sequence[Sample]:
    """Return the samples of one route."""
    pictures = load_data(find_data(route)).test.pictures[:PICTURES]
    with serve_alone(models, route) as (served, work, server):
        labels = label_offline(served, route, pictures)
        case = build_case(route, ("server", server), route, pictures, labels,
                          connections=CASCADE_CONNECTIONS)  # fmt: skip
        load = run_load(case, server, work, seconds)
        resident_mb = read_resident_bytes(server.pid) / 1e6
    samples = [Sample(route, run, name, load[name]) for name in LOAD_METRICS]
    samples.append(Sample(route, run, "core_requests_s", 1e6 / load["cpu_us"]))
    return [*samples, Sample(route, run, "resident_mb", resident_mb)]


def measure_sizes(options: argparse.Namespace, console: Console) -> list[Sample]:
    routes = sorted(path.name for path in options.models.iterdir() if path.is_dir())
    samples: list[Sample] = []
    for run in range(options.runs):
        for route in routes:
            console.print(f"run {run + 1}: {route}")
            samples += measure_route(options.models, route, options.seconds, run)
    return samples


if __name__ == "__main__":
    run_benchmark(make_parser(__doc__, seconds=3.0), measure_sizes, REPORT, runs=1, seconds=0.5)
