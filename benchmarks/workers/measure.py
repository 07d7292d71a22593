"""`python -m benchmarks.workers`: `sparing serve --workers 2` beside one process, in turns.

The numbers go to `benchmarks/results/`, the comparison to `docs/reports/workers.md`.
"""

from pathlib import Path

from rich.console import Console

from benchmarks.serving.side_by_side import Start, measure_kinds, run_benchmark
from benchmarks.workers.report import COMPARED, KINDS
from harness.results import Sample
from harness.servers import run_sparing

CHANNELS = 8  # a gRPC channel is one connection, which one worker serves


def measure_workers(models: Path, runs: int, seconds: float, console: Console) -> list[Sample]:
    """Every case with one process and with two."""
    kinds = {kind: _start_with(workers) for kind, workers in KINDS.items()}
    return measure_kinds(kinds, COMPARED, runs, seconds, console, models, CHANNELS)


def _start_with(workers: int) -> Start:
    return lambda models, settings, _: run_sparing(models, settings, workers)


def main() -> None:
    run_benchmark("workers", __doc__, measure_workers)
