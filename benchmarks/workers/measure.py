"""`python -m benchmarks.workers`: `sparing serve --workers 2` beside one process, in turns."""

import argparse

from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.serving.side_by_side import Start, measure_kinds
from benchmarks.workers.report import COMPARED, KINDS, REPORT
from harness.results import Sample
from harness.servers import run_sparing

CHANNELS = 8  # a gRPC channel is one connection, which one worker serves


def measure_workers(options: argparse.Namespace, console: Console) -> list[Sample]:
    """Every case with one process and with two."""
    kinds = {kind: _start_with(int(kind)) for kind in KINDS}
    return measure_kinds(
        kinds, COMPARED, options.runs, options.seconds, console, options.models, CHANNELS
    )


def _start_with(workers: int) -> Start:
    return lambda models, settings, _: run_sparing(models, settings, workers)


def main() -> None:
    run_benchmark(make_parser(__doc__, seconds=3.0), measure_workers, REPORT, runs=1, seconds=0.5)
