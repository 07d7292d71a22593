"""`python -m benchmarks.peers`: Sparing beside Triton, an echo, and ONNX Runtime with numpy alone.

Triton runs each route as one model of its Python backend with dynamic batching: the cascade is
three nets and some lines of numpy in it, which is what a user would write there. Without a Triton
its columns stay empty. Both servers have their default settings, apart from the cache: `off` is
without, `on` has one that is too small for the pictures, so that every row is looked up, computed
and stored. All servers run all the time, and cases are measured in turns.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.peers.answering import time_floor
from benchmarks.peers.cases import build_case, build_echo, make_noise
from benchmarks.peers.triton import find_folder, run_triton, write_plan, write_repository
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import LOADS, Table
from benchmarks.reporting.targets import FAULTS, Target, ratio
from benchmarks.serving.cases import CASCADE, LARGE, Case, label_offline
from benchmarks.serving.measure import gather_models, measure_cases
from harness import small_cnn
from harness.load.traffic import Pictures
from harness.pictures import load_pictures
from harness.results import Results, Sample
from harness.servers import Server, run_echo, run_servers

SETTINGS: Mapping[str, str] = {
    "default": "",
    "off": "[cache]\nenabled = false\n",
    "on": "[cache]\nlimit_bytes = 300000\n",
    "no-metrics": "[cache]\nenabled = false\n[metrics]\nenabled = false\n",
}
ROWS = (32, 256)
PICTURES = 4096
TARGETS = (
    Target("Small CNN, 1 row, 32 connections: CPU, of Triton's, cache on",
           ratio("small-1-on", "small-1-triton", "cpu_us"), 0.55, unit="×", digits=2),
    *(
        Target(f"{name}, {rows} rows a request: CPU, of {rival}'s, cache {cache}",
               ratio(f"{case}-{rows}-{cache}", f"{case}-{rows}-{of}", "cpu_us"), limit, unit="×",
               digits=2)
        for name, case, limits in (
            ("Small CNN", "small", (1.1, 1.35, 1.6)),
            ("Cascade", "cascade", (1.1, 1.2, 1.3)),
        )
        for rows in ROWS
        for cache, rival, of, limit in (
            ("off", "Triton", "triton", limits[0]),
            ("on", "Triton", "triton", limits[1]),
            ("off", "the floor", "floor", limits[2]),
        )
    ),
    Target("Cascade, 1 row, 64 connections: CPU, of Triton's, cache on",
           ratio("cascade-1-on", "cascade-1-triton", "cpu_us"), 0.85, unit="×", digits=2),
    Target("Cascade, 1 row, 64 connections: requests/s, of our batched large model's",
           ratio("cascade-1-off", "large-1-off", "requests_s"), at_least=3.5, unit="×", digits=2),
    Target("Answer from the cache: CPU, of Triton's",
           ratio("hit-default", "hit-triton", "cpu_us"), 0.8, unit="×", digits=2),
    Target("Answer from the cache: CPU, of an echo's",
           ratio("hit-default", "echo", "cpu_us"), 2.2, unit="×", digits=2),
    Target("A lone request: p50, of Triton's",
           ratio("lone-off", "lone-triton", "p50_ms"), 0.4, unit="×", digits=2),
    Target("All metrics on the cascade: CPU, of that without",
           ratio("cascade-1-off", "cascade-1-no-metrics", "cpu_us"), 1.03, unit="×", digits=3),
    FAULTS,
)  # fmt: skip
SPARING = {"off": "Sparing, cache off", "on": "Sparing, cache on"}
SHOWN = (  # title, cases, kinds
    ("CPU of a request with 1 row, µs", 1, {**SPARING, "triton": "Triton"}),
    (
        "CPU of a row, 256 rows a request, µs",
        256,
        {**SPARING, "triton": "Triton", "floor": "ONNX Runtime and numpy"},
    ),
)


def draw(results: Results) -> list[Panel]:
    """CPU of a row on each kind of server that was measured."""
    known = {sample.case for sample in results.samples}
    return [
        Bars(
            title,
            ["a small CNN", "a cascade"],
            {
                words: [
                    results.median(f"{name}-{rows}-{kind}", "cpu_us") / rows
                    for name in ("small", "cascade")
                ]
                for kind, words in kinds.items()
                if f"small-{rows}-{kind}" in known
            },
        )
        for title, rows, kinds in SHOWN
    ]


REPORT = Report("peers", "serving", "Beside other servers", TARGETS, draw, [Table(LOADS)])


def measure_peers(options: argparse.Namespace, console: Console) -> list[Sample]:
    """Every case in every run."""
    python: Path | None = options.triton_python
    if python is not None:
        find_folder(python)
    pictures, _ = load_pictures()
    if len(pictures) < max(ROWS):
        raise FileNotFoundError("too few pictures: set SPARING_DATA to the folder of the data sets")
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="sparing-peers-") as folder, ExitStack() as stack:
        work = Path(folder)
        served = gather_models(options.models, work)
        servers = stack.enter_context(run_servers(served, SETTINGS, work))
        servers["echo"] = stack.enter_context(run_echo())
        if python is not None:
            for name, cached in (("triton", False), ("triton-cached", True)):
                write_repository(served, work / name, cached=cached)
                servers[name] = stack.enter_context(run_triton(python, work / name))
        console.print("preparing requests and their right answers ...")
        noise = make_noise(PICTURES, small_cnn.SIZE)
        of_route = {small_cnn.ROUTE: noise, CASCADE: pictures, LARGE: pictures}
        cases = _build_cases(servers, of_route, served)
        for route in (small_cnn.ROUTE, CASCADE):
            write_plan(served / route / "1", work / "plans" / route)
        for run in range(options.runs):
            samples += measure_cases(cases, servers, work, run, options.seconds, console)
            samples += _time_floors(work / "plans", of_route, run, options.seconds)
    return samples


def _build_cases(
    servers: Mapping[str, Server], of_route: Mapping[str, Pictures], served: Path
) -> list[Case]:
    labels = {name: label_offline(served, name, all_of) for name, all_of in of_route.items()}
    cases = [build_echo(("echo", servers["echo"]), of_route[small_cnn.ROUTE][:1])]

    def add(
        name: str, server: str, route: str, rows: int, connections: int, limit: int | None = None
    ) -> None:
        if server in servers:
            cases.append(
                build_case(
                    name, (server, servers[server]), route, of_route[route][:limit],
                    labels[route][:limit], rows=rows, connections=connections,
                )
            )  # fmt: skip

    for route, name, connections in ((small_cnn.ROUTE, "small", 32), (CASCADE, "cascade", 64)):
        for rows, many in ((1, connections), *[(rows, 8) for rows in ROWS]):
            for server in ("off", "on", "triton"):
                add(f"{name}-{rows}-{server}", server, route, rows, many)
    add("large-1-off", "off", LARGE, 1, 64)
    add("cascade-1-no-metrics", "no-metrics", CASCADE, 1, 64)
    add("hit-default", "default", small_cnn.ROUTE, 1, 32, limit=1)
    add("hit-triton", "triton-cached", small_cnn.ROUTE, 1, 32, limit=1)
    add("lone-off", "off", small_cnn.ROUTE, 1, 1)
    add("lone-triton", "triton", small_cnn.ROUTE, 1, 1)
    return cases


def _time_floors(
    plans: Path, of_route: Mapping[str, Pictures], run: int, seconds: float
) -> Sequence[Sample]:
    samples = []
    for route, name in ((small_cnn.ROUTE, "small"), (CASCADE, "cascade")):
        pictures = np.ascontiguousarray(of_route[route][:PICTURES])
        for rows in ROWS:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                row_s = pool.submit(time_floor, plans / route, pictures, rows, seconds / 2).result()
            samples.append(Sample(f"{name}-{rows}-floor", run, "cpu_us", row_s * rows * 1e6))
    return samples


def main() -> None:
    parser = make_parser(__doc__, seconds=2.0)
    parser.add_argument(
        "--triton-python", type=Path,
        help="python of an environment with nvidia-pytriton and onnxruntime",
    )  # fmt: skip
    run_benchmark(parser, measure_peers, REPORT, runs=1, seconds=0.3)
