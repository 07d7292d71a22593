"""`python -m benchmarks.serving.against CHECKOUT`: the cost of requests here and there, in turns.

For a change that must not slow a hot path: the other checkout is the state before it. Both servers
run all the time, one at a time gets load, and each round measures every case on both, one right
after the other. What counts is the ratio of CPU time within a round; its median and range over
rounds are printed, and the samples go to `benchmarks/results/`.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.serving import cases as case_list
from benchmarks.serving.cases import Case
from benchmarks.serving.measure import gather_models, measure_cases
from harness import small_cnn
from harness.load.traffic import Traffic, encode_rows
from harness.pictures import load_pictures
from harness.results import FOLDER, QUICK_FOLDER, Results, Sample, write_results
from harness.servers import Server, post, run_sparing

SERVERS = ("default", "no-memory")
COMPARED = (
    "small-cnn-http",
    "hit",
    "hit-json",
    "lone-http",
    "picture",
    "small-cnn-grpc",
    "cascade",
)
ROWS = (32, 256)  # of one request
SIDES = ("before", "now")
_HERE = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="a clone or worktree of the state before")
    parser.add_argument("--models", type=Path, default=Path("models"), help="shipped routes")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="one run of 0.5 s, into runs/bench/")
    parser.add_argument("--only", nargs="*", default=(), help="names of cases; none: all")
    options = parser.parse_args()
    runs, seconds = (1, 0.5) if options.quick else (options.runs, options.seconds)
    if not (options.checkout / "serving").is_dir():
        sys.exit(f"{options.checkout}: no checkout of Sparing, it has no folder serving/")
    try:
        load_pictures()  # before any server starts
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    checkouts = dict(zip(SIDES, (options.checkout.resolve(), _HERE), strict=True))
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder, ExitStack() as stack:
        work = Path(folder)
        served = gather_models(options.models, work)
        servers = stack.enter_context(_run_servers(checkouts, served, work))
        built = [_build(side, servers, served, options.only) for side in SIDES]
        cases = [case for pair in zip(*built, strict=True) for case in pair]
        samples: list[Sample] = []
        for run in range(runs):
            samples += measure_cases(cases, servers, work, run, seconds, Console(stderr=True))
    command = f"python -m benchmarks.serving.against <before> --runs {runs} --seconds {seconds:g}"
    write_results("against", command, samples, QUICK_FOLDER if options.quick else FOLDER)
    Console().print(compare(Results({}, samples)))
    if faults := sum(s.value for s in samples if s.metric in ("errors", "wrong")):
        sys.exit(f"{faults:.0f} answers were errors or wrong")


def compare(results: Results) -> Table:
    """The cases, each with the medians of both sides and of the ratio within a round."""
    table = Table(
        "case", "before, µs", "now, µs", "now / before", "range", "p99 ratio", title="CPU a request"
    )
    for name in dict.fromkeys(case.rpartition("@")[0] for case in results.cases()):
        before, now = (np.array(results.values(f"{name}@{side}", "cpu_us")) for side in SIDES)
        p99 = [np.array(results.values(f"{name}@{side}", "p99_ms")) for side in SIDES]
        ratios = now / before
        table.add_row(
            name,
            f"{np.median(before):.1f}",
            f"{np.median(now):.1f}",
            f"{np.median(ratios):.3f}",
            f"{ratios.min():.3f}–{ratios.max():.3f}",
            f"{np.median(p99[1] / p99[0]):.2f}",
        )
    return table


@contextmanager
def _run_servers(
    checkouts: Mapping[str, Path], served: Path, work: Path
) -> Iterator[Mapping[str, Server]]:
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        for name in SERVERS:
            settings = work / f"{name}.toml"
            settings.write_text(case_list.SETTINGS[name])
            for side, checkout in checkouts.items():
                server = run_sparing(served, settings, checkout=checkout)
                servers[f"{name}@{side}"] = stack.enter_context(server)
        yield servers


def _build(
    side: str, servers: Mapping[str, Server], served: Path, only: Sequence[str]
) -> list[Case]:
    own = {name: servers[f"{name}@{side}"] for name in SERVERS}
    own |= {name: own["no-memory"] for name in case_list.SETTINGS if name not in own}
    built = [
        *case_list.build_http_cases(own, served),
        *case_list.build_picture_cases(served),
        *case_list.build_grpc_cases(own, served),
        *case_list.build_cascade_cases(own, served, None),
        *[_build_rows_case(own["no-memory"], rows) for rows in ROWS],
    ]
    wanted = only or (*COMPARED, *[f"rows-{rows}" for rows in ROWS])
    return [
        replace(case, name=f"{case.name}@{side}", server=f"{case.server}@{side}")
        for case in built
        if case.name in wanted
    ]


def _build_rows_case(server: Server, rows: int) -> Case:
    """The small CNN, so many rows a request; an answer is right if it ends as the first one did."""
    size = small_cnn.SIZE
    pictures = np.random.default_rng(1).integers(0, 256, (16, rows, size, size), dtype=np.uint8)
    encoded = [encode_rows(batch) for batch in pictures]
    bodies = [body for body, _ in encoded]
    headers = (f"inference-header-content-length: {encoded[0][1]}",)
    path = f"/v2/models/{small_cnn.ROUTE}/infer"
    expected = [post(server.http_port, path, body, headers)[0][-8:] for body in bodies]
    return Case(f"rows-{rows}", "no-memory", 8, Traffic(bodies, expected, -8), path, headers)


if __name__ == "__main__":
    main()
