"""`python -m benchmarks.duplicates`: the paper's experiment, what the cache adds to a cascade.

After arXiv 2412.01039: a share of the test pictures comes a second time (0, 50, 100 %), as they
are or turned and mirrored, shuffled among the others. One large model, batched and one request at
a time, the cascade, the same with the cache, and with cache and perceptual tier answer the
same requests through the real server, each from a cold start, one pass, in turns. Device time is
the server's own count of seconds inside stages; CPU that of its whole process.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.progress import track

from benchmarks.duplicates.memory_cost import measure_memory_cost
from benchmarks.duplicates.report import make_report
from benchmarks.reporting.command import make_parser, run_benchmark
from harness.load.loadgen import build_requests
from harness.load.once import ask_once
from harness.load.traffic import Labels, Pictures, find_label, pack_binary
from harness.process_tree import read_cpu_s
from harness.results import Sample
from harness.servers import Server, read_metrics, run_sparing, sum_metric
from training.data.sets import load_data

NO_MEMORY = "[cache]\nenabled = false\n"
CONNECTIONS = 64
SEED = 42
COST_RUNS = 4  # of memory's own cost, for each run of the others


@dataclass(frozen=True, slots=True)
class Workload:
    """Which requests: every picture once, and a share of them once more."""

    name: str
    share: float
    turned: bool = False  # the second time turned by a quarter or a half, or mirrored


@dataclass(frozen=True, slots=True)
class System:
    """Who answers: a route, the server's settings, and how many ask at once."""

    name: str
    large: bool
    settings: str
    connections: int = CONNECTIONS


WORKLOADS = (
    Workload("0 %", 0.0),
    Workload("50 %", 0.5),
    Workload("100 %", 1.0),
    Workload("50 % turned", 0.5, turned=True),
    Workload("100 % turned", 1.0, turned=True),
)


def list_systems(route: str) -> tuple[System, ...]:
    similar = f'[cache.perceptual.routes."{route}"]\n'
    return (
        System("large, one by one", True, NO_MEMORY, connections=1),
        System("large", True, NO_MEMORY),
        System("dual", False, NO_MEMORY),
        System("dual + memory", False, ""),
        System("dual + memory + similar", False, similar),
    )


def measure_all(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    test = load_data(options.data).test
    count = options.pictures
    yield from measure(options, test.pictures[:count], test.labels[:count], console)
    pictures = test.pictures[:count] if options.quick else test.pictures
    yield from measure_memory_cost(
        options.models, options.data, pictures, COST_RUNS * options.runs, CONNECTIONS
    )


def main() -> None:
    parser = make_parser(__doc__, runs=3)
    parser.add_argument("--data", default="cifar10", help="a data set with shipped routes")
    parser.add_argument("--pictures", type=int, default=3000, help="distinct ones, of the test set")
    run_benchmark(
        parser, measure_all, lambda options: make_report(options.data), runs=1, pictures=300
    )


def measure(
    options: argparse.Namespace, pictures: Pictures, labels: Labels, console: Console
) -> Iterator[Sample]:
    """Every system on every workload in every run; systems in reverse order every other run."""
    models, route, runs = options.models, options.data, options.runs
    made = {load.name: make_workload(load, pictures, labels) for load in WORKLOADS}
    systems = list_systems(route)
    cells = [
        (run, load, system)
        for run in range(runs)
        for load in WORKLOADS
        for system in (systems if run % 2 == 0 else reversed(systems))
    ]
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder:
        for run, load, system in track(cells, "runs of a server", console=console):
            asked, right = made[load.name]
            name = f"{route}-large" if system.large else route
            found = run_cell(models, name, system, asked, right, Path(folder))
            case = f"{system.name} @ {load.name}"
            yield from (Sample(case, run, metric, value) for metric, value in found.items())
            console.print(
                f"run {run + 1}/{runs} {case:34} {found['device_us']:8.1f} device µs "
                f"{found['cpu_us']:8.1f} CPU µs a picture, {found['accuracy']:.2%} right"
            )


def make_workload(
    workload: Workload, pictures: Pictures, labels: Labels
) -> tuple[Sequence[np.ndarray], Labels]:
    """The requests' pictures and their labels, in the order they are asked."""
    rng = np.random.default_rng(SEED)
    again = rng.choice(len(pictures), int(workload.share * len(pictures)), replace=False)
    second = [pictures[index] for index in again]
    if workload.turned:
        second = [_turn(picture, rng) for picture in second]
    everything = [*pictures, *second]
    order = rng.permutation(len(everything))
    return [everything[i] for i in order], np.concatenate([labels, labels[again]])[order]


def _turn(picture: Pictures, rng: np.random.Generator) -> Pictures:
    """One of the paper's four: a quarter to either side, a half, or upside down in a mirror."""
    kind = rng.integers(4)
    turned = picture[::-1] if kind == 3 else np.rot90(picture, (1, 3, 2)[kind])
    return np.ascontiguousarray(turned)


def run_cell(
    models: Path,
    route: str,
    system: System,
    pictures: Sequence[np.ndarray],
    labels: Labels,
    folder: Path,
) -> dict[str, float]:
    """One pass on a fresh server."""
    settings = folder / "settings.toml"
    settings.write_text(system.settings)
    bodies, headers = pack_binary(pictures)
    with run_sparing(models, settings) as server:
        requests = build_requests(bodies, server.http_port, f"/v2/models/{route}/infer", headers)
        before, cpu_s = read_device(server, route), read_cpu_s(server.pid)
        done = uvloop.run(ask_once(server.http_port, requests, system.connections))
        cpu_s = read_cpu_s(server.pid) - cpu_s
        after = read_device(server, route)
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    count = len(pictures)
    answers = np.array([read_label(*answer) for answer in done.answers])
    return {
        "accuracy": float((answers == labels).mean()),
        "device_us": spent["seconds"] / count * 1e6,
        "cpu_us": cpu_s / count * 1e6,
        "p50_ms": float(np.median(done.latencies_s)) * 1e3,
        "p99_ms": float(np.percentile(done.latencies_s, 99)) * 1e3,
        "requests_s": count / done.seconds,
        "remembered": spent["remembered"] / count,
        "requests": count,
    }


def read_device(server: Server, route: str) -> Mapping[str, float]:
    """So far: seconds inside the route's stages, and rows that memory answered."""
    samples = list(read_metrics(server.http_port))
    return {
        "seconds": sum_metric(samples, "sparing_stage_seconds_sum", route=route),
        "remembered": sum_metric(samples, "sparing_rows_total", route=route, stopped_by="cache"),
    }


def read_label(answer: bytes, head_bytes: int) -> int:
    """The label of a binary answer of one row."""
    start = len(answer) + find_label(answer, head_bytes)
    return int.from_bytes(answer[start : start + 8], "little", signed=True)
