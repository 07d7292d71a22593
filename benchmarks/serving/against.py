"""`python -m benchmarks.serving.against CHECKOUT`: the cost of requests here and there, in turns.

For a change that must not slow a hot path: the other checkout is the state before it. What counts
is the ratio of CPU time within a run; its median and range over runs are printed, and the samples
go to `benchmarks/results/`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.reporting.command import describe, make_parser
from benchmarks.reporting.targets import each
from benchmarks.serving.side_by_side import Start, measure_kinds
from harness.results import FOLDER, QUICK_FOLDER, Results, write_results
from harness.servers import run_sparing

COMPARED = ("small-cnn-http", "hit", "hit-json", "lone-http", "picture", "small-cnn-grpc",
            "cascade", "rows-32", "rows-256")  # fmt: skip
_HERE = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = make_parser(__doc__, runs=9, seconds=2.0)
    parser.add_argument("checkout", type=Path, help="a clone or worktree of the state before")
    parser.add_argument("--only", nargs="*", default=COMPARED, help="names of cases")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.seconds = 1, 0.5
    if not (options.checkout / "serving").is_dir():
        sys.exit(f"{options.checkout}: no checkout of Sparing, it has no folder serving/")
    kinds = {"before": _start_in(options.checkout.resolve()), "now": _start_in(_HERE)}
    try:
        samples = measure_kinds(kinds, options.only, options.runs, options.seconds,
                                Console(stderr=True), options.models)  # fmt: skip
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    told = argparse.Namespace(quick=options.quick, runs=options.runs, seconds=options.seconds)
    command = describe("benchmarks.serving.against", told)
    write_results("against", command, samples, QUICK_FOLDER if options.quick else FOLDER)
    Console().print(compare(Results({}, samples)))
    if faults := sum(s.value for s in samples if s.metric in ("errors", "wrong")):
        sys.exit(f"{faults:.0f} answers were errors or wrong")


def _start_in(checkout: Path) -> Start:
    return lambda models, settings, _: run_sparing(models, settings, checkout=checkout)


def compare(results: Results) -> Table:
    """The cases, each with the medians of both sides and of the ratio within a run."""
    table = Table(
        "case", "before, µs", "now, µs", "now / before", "range", "p99 ratio", title="CPU a request"
    )
    names = (case.rpartition("-")[0] for case in results.cases())
    for name in dict.fromkeys(name for name in names if name != "start"):
        before, now = (each(results, f"{name}-{side}", "cpu_us") for side in ("before", "now"))
        p99 = each(results, f"{name}-now", "p99_ms") / each(results, f"{name}-before", "p99_ms")
        ratios = now / before
        table.add_row(
            name, f"{np.median(before):.1f}", f"{np.median(now):.1f}", f"{np.median(ratios):.3f}",
            f"{ratios.min():.3f}–{ratios.max():.3f}", f"{np.median(p99):.2f}",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
