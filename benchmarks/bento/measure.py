"""`python -m benchmarks.bento`: the server inside BentoML beside `sparing serve`, in turns."""

import argparse

from rich.console import Console

from benchmarks.bento.report import COMPARED, HOSTS, REPORT
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.serving.side_by_side import measure_kinds
from harness.results import Sample
from harness.servers import run_bento, run_sparing

STARTS = (lambda models, settings, _: run_sparing(models, settings), run_bento)


def measure_hosts(options: argparse.Namespace, console: Console) -> list[Sample]:
    """Every case on both; none of them asks a shipped route."""
    kinds = dict(zip(HOSTS, STARTS, strict=True))
    return measure_kinds(kinds, COMPARED, options.runs, options.seconds, console)


def main() -> None:
    run_benchmark(make_parser(__doc__, seconds=3.0), measure_hosts, REPORT, runs=1, seconds=0.5)
