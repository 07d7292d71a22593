"""`python -m benchmarks.bento`: our server inside BentoML beside `sparing serve`, in turns.

The numbers go to `benchmarks/results/`, the comparison to `docs/reports/bento.md`.
"""

from pathlib import Path

from rich.console import Console

from benchmarks.bento.report import COMPARED, HOSTS
from benchmarks.serving.side_by_side import measure_kinds, run_benchmark
from harness.results import Sample
from harness.servers import run_bento, run_sparing

STARTS = (lambda models, settings, _: run_sparing(models, settings), run_bento)


def measure_hosts(_: Path, runs: int, seconds: float, console: Console) -> list[Sample]:
    """Every case on both; none of them asks a shipped route."""
    kinds = dict(zip(HOSTS, STARTS, strict=True))
    return measure_kinds(kinds, COMPARED, runs, seconds, console)


def main() -> None:
    run_benchmark("bento", __doc__, measure_hosts)
