"""`python -m benchmarks.duplicates`: the paper's experiment, what the cache adds to a cascade.

After arXiv 2412.01039: a share of the test pictures comes a second time (0, 50, 100 %), as they
are or turned and mirrored, shuffled among the others. One large model, batched and one request at
a time, the cascade, the same with the cache, and with cache and perceptual tier answer the
same requests through the real server, each from a cold start, one pass, in turns. Device time is
the server's own count of seconds inside stages; CPU that of its whole process.

The cache's own cost is measured apart: two servers of the same route, cache on and off, answer the
same blocks of pictures in turns, each picture once; which is first changes from block to block, so
that a slow spell of the machine falls on both. Every run starts both anew, as two processes of one
program differ by a few per cent as it is.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.progress import track

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Curves, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Target, difference, each, ratio
from harness.load.loadgen import build_requests
from harness.load.once import Pass, ask_once
from harness.load.traffic import Labels, Pictures, pack_binary, read_label
from harness.results import Results, Sample
from harness.servers import Server, count_spent, run_servers, run_sparing
from training.data.sets import load_data

NO_MEMORY = "[cache]\nenabled = false\n"
CONNECTIONS = 64
SEED = 42
COST_RUNS = 4  # of the cache's own cost, for each run of the others
OFF, ON = "no repeats, memory off", "no repeats, memory on"
SETTINGS = {OFF: NO_MEMORY, ON: ""}
BLOCK_PICTURES = 500
SHARES = (0, 50, 100)
LARGE, DUAL, MEMORY, SIMILAR = "large", "dual", "dual + memory", "dual + memory + similar"
PLOTTED = {"device_us": "device time", "cpu_us": "CPU of the whole server process"}
COLUMNS = plain({
    "accuracy": "accuracy",
    "device_us": "device µs/picture",
    "cpu_us": "process CPU µs/picture",
    "remembered": "answered from the cache",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "requests_s": "requests/s",
    "requests": "requests",
})  # fmt: skip


def _changed(system: str) -> Figure:
    """Points of accuracy, against the cascade alone: the largest difference of any run."""
    return lambda results: np.array([max(
        np.abs(difference(f"{system} @ {load}", f"{DUAL} @ {load}", "accuracy", 100)(results)).max()
        for load in list_loads(results)
    )])  # fmt: skip


TARGETS = (
    Target("Device time of the cascade without repeats, of the large model's",
           ratio(f"{DUAL} @ 0 %", f"{LARGE} @ 0 %", "device_us", 100), 20, unit="%"),
    Target("Device time with the cache where each picture comes twice, of the large model's",
           ratio(f"{MEMORY} @ 100 %", f"{LARGE} @ 100 %", "device_us", 100), 10, unit="%"),
    Target("The cache's own CPU without repeats, of the large model's",
           lambda r: (100 * (each(r, ON, "cpu_us") - each(r, OFF, "cpu_us"))
                      / r.median(f"{LARGE} @ 0 %", "cpu_us")), 1, unit="%", digits=2),
    Target("The cache's own CPU without repeats, of the cascade's",
           lambda r: 100 * (each(r, ON, "cpu_us") / each(r, OFF, "cpu_us") - 1), 1, unit="%"),
    Target("Accuracy changed by the cache, at most in any run", _changed(MEMORY), 0,
           unit="points", digits=2),
    Target("Accuracy changed by the similar tier, at most in any run", _changed(SIMILAR), 0.1,
           unit="points", digits=2),
)  # fmt: skip


def list_loads(results: Results) -> list[str]:
    """The workloads measured, in order."""
    loads = (case.split(" @ ")[1] for case in results.cases() if " @ " in case)
    return list(dict.fromkeys(loads))


def draw(results: Results) -> list[Panel]:
    """Over the share that comes twice; only to the similar tier a turned repeat may be known."""
    lines = {name: (name, "") for name in (LARGE, DUAL, MEMORY, SIMILAR)}
    lines[f"{SIMILAR}, turned"] = (SIMILAR, " turned")
    return [
        Curves(f"{title}, µs a picture", "pictures that come a second time, %", "", {
            label: [
                (share, results.median(f"{system} @ {share} %{turned if share else ''}", metric))
                for share in SHARES
            ]
            for label, (system, turned) in lines.items()
        }, log="y")
        for metric, title in PLOTTED.items()
    ]  # fmt: skip


def make_report(data: str) -> Report:
    bench = f"duplicates_{data}"
    return Report(bench, bench, f"What the cache adds where pictures of {data} repeat", TARGETS,
                  draw, [Table(COLUMNS)])  # fmt: skip


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
        System(LARGE, True, NO_MEMORY),
        System(DUAL, False, NO_MEMORY),
        System(MEMORY, False, ""),
        System(SIMILAR, False, similar),
    )


def measure_all(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    test, count = load_data(options.data).test, options.pictures
    console.print(f"{count} of the {len(test.pictures)} test pictures; runs: {options.runs}")
    yield from measure(options, test.pictures[:count], test.labels[:count], console)
    yield from measure_memory_cost(
        options, test.pictures[: count if options.quick else None], console
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
    counters = {
        "seconds": ("sparing_stage_seconds_sum", {"route": route}),
        "remembered": ("sparing_rows_total", {"route": route, "stopped_by": "cache"}),
    }
    with run_sparing(models, settings) as server, count_spent(server, counters) as spent:
        done = ask(server, route, bodies, headers, system.connections)
    count = len(pictures)
    answers = np.array([read_label(*answer) for answer in done.answers])
    return {
        "accuracy": float((answers == labels).mean()),
        "device_us": spent["seconds"] / count * 1e6,
        "cpu_us": spent["cpu_s"] / count * 1e6,
        "p50_ms": float(np.median(done.latencies_s)) * 1e3,
        "p99_ms": float(np.percentile(done.latencies_s, 99)) * 1e3,
        "requests_s": count / done.seconds,
        "remembered": spent["remembered"] / count,
        "requests": count,
    }


def ask(
    server: Server, route: str, bodies: Sequence[bytes], headers: Sequence[str], connections: int
) -> Pass:
    requests = build_requests(bodies, server.http_port, f"/v2/models/{route}/infer", headers)
    return uvloop.run(ask_once(server.http_port, requests, connections))


def measure_memory_cost(
    options: argparse.Namespace, pictures: Pictures, console: Console
) -> Iterator[Sample]:
    """CPU a picture with the cache off and on."""
    runs = 1 if options.quick else COST_RUNS * options.runs
    bodies, headers = pack_binary(pictures)
    for run in track(range(runs), "memory off and on", console=console):
        spent_s = dict.fromkeys(SETTINGS, 0.0)
        with (
            tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder,
            run_servers(options.models, SETTINGS, Path(folder)) as servers,
        ):
            for number, start in enumerate(range(0, len(bodies), BLOCK_PICTURES)):
                block = bodies[start : start + BLOCK_PICTURES]
                for name in SETTINGS if number % 2 == 0 else reversed(SETTINGS):
                    with count_spent(servers[name], {}) as spent:
                        ask(servers[name], options.data, block, headers, CONNECTIONS)
                    spent_s[name] += spent["cpu_s"]
        found = {case: seconds / len(bodies) * 1e6 for case, seconds in spent_s.items()}
        yield from (Sample(case, run, "cpu_us", value) for case, value in found.items())
        console.print(
            f"run {run + 1}/{runs} " + ", ".join(f"{c} {v:.0f}" for c, v in found.items())
        )


if __name__ == "__main__":
    parser = make_parser(__doc__, runs=3)
    parser.add_argument("--data", default="cifar10", help="a data set with shipped routes")
    parser.add_argument("--pictures", type=int, default=3000, help="distinct ones, of the test set")
    run_benchmark(
        parser, measure_all, lambda options: make_report(options.data), runs=1, pictures=100
    )
