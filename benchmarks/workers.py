"""`python -m benchmarks.workers`: `sparing serve --workers 2` beside one process, in turns.

The numbers go to `benchmarks/results/`, the comparison to `docs/reports/workers.md`.
"""

from pathlib import Path

from rich.console import Console

from benchmarks.results import Sample
from benchmarks.servers import run_sparing
from benchmarks.side_by_side import Start, measure_kinds, run_benchmark
from benchmarks.workers_report import COMPARED, KINDS

CHANNELS = 8  # a gRPC channel is one connection, which one worker serves


def measure_workers(models: Path, runs: int, seconds: float, console: Console) -> list[Sample]:
    """Every case with one process and with two."""
    kinds = {kind: _start_with(workers) for kind, workers in KINDS.items()}
    return measure_kinds(kinds, COMPARED, runs, seconds, console, models, CHANNELS)


def _start_with(workers: int) -> Start:
    return lambda models, settings, _: run_sparing(models, settings, workers)


if __name__ == "__main__":
    run_benchmark("workers", __doc__, measure_workers)
