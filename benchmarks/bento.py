"""`python -m benchmarks.bento`: the server inside BentoML beside `sparing serve`, in turns."""

import argparse

from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.tables import LOADS, Table
from benchmarks.reporting.targets import FAULTS, Target, ratio
from benchmarks.serving.side_by_side import WORDS, Start, draw_kinds, measure_kinds
from harness.results import Sample
from harness.servers import run_bento, run_sparing

HOSTS = {"sparing": "sparing serve", "bento": "bentoml serve"}  # as a case's name ends
COMPARED = ("hit", "hit-json", "small-cnn-http", "picture", "lone-http", "small-cnn-grpc")
STARTS: dict[str, Start] = {
    "sparing": lambda models, settings, _: run_sparing(models, settings),
    "bento": run_bento,
}
TARGETS = (
    *(
        Target(f"CPU a request, of `sparing serve`'s: {WORDS[case]}",
               ratio(f"{case}-bento", f"{case}-sparing", "cpu_us"), 1.6, unit="×", digits=2)
        for case in COMPARED
    ),
    FAULTS,
)  # fmt: skip
REPORT = Report("bento", "bento", "What BentoML costs as a host", TARGETS, lambda results: [
    draw_kinds(results, "CPU of the whole process tree a request, µs", "cpu_us", COMPARED, HOSTS)
], [Table(LOADS)])  # fmt: skip


def measure_hosts(options: argparse.Namespace, console: Console) -> list[Sample]:
    """None of the cases needs a shipped route."""
    return measure_kinds(STARTS, COMPARED, options.runs, options.seconds, console)


if __name__ == "__main__":
    run_benchmark(make_parser(__doc__, seconds=3.0), measure_hosts, REPORT, runs=1, seconds=0.5)
