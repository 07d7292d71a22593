"""`python -m benchmarks.workers`: `sparing serve --workers 2` beside one process, in turns.

The numbers go to `benchmarks/results/`, the comparison to `docs/reports/workers.md`.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.pictures import load_pictures
from benchmarks.report import DOCS, write_report
from benchmarks.results import FOLDER, QUICK_FOLDER, write_results
from benchmarks.servers import run_sparing
from benchmarks.side_by_side import Start, measure_kinds
from benchmarks.workers_report import COMPARED, KINDS

CHANNELS = 8  # a gRPC channel is one connection, which one worker serves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="shipped routes")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="one run of 0.5 s, into runs/bench/")
    options = parser.parse_args()
    runs, seconds = (1, 0.5) if options.quick else (options.runs, options.seconds)
    command = "python -m benchmarks.workers" + (
        " --quick" if options.quick else f" --runs {runs} --seconds {seconds:g}"
    )
    try:
        load_pictures()  # before any server starts
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    kinds = {kind: _start_with(workers) for kind, workers in KINDS.items()}
    samples = measure_kinds(
        kinds, COMPARED, runs, seconds, Console(stderr=True), options.models, CHANNELS
    )
    path = write_results("workers", command, samples, QUICK_FOLDER if options.quick else FOLDER)
    print(write_report("workers", path, QUICK_FOLDER if options.quick else DOCS))
    faults = sum(s.value for s in samples if s.metric in ("errors", "wrong"))
    if faults:
        sys.exit(f"{faults:.0f} answers were errors or wrong; the results say in which cases")


def _start_with(workers: int) -> Start:
    return lambda models, settings, _: run_sparing(models, settings, workers)


if __name__ == "__main__":
    main()
