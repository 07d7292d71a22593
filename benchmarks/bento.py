"""`python -m benchmarks.bento`: our server inside BentoML beside `sparing serve`, in turns.

The numbers go to `benchmarks/results/`, the comparison to `docs/reports/bento.md`.
"""

import argparse
import sys

from rich.console import Console

from benchmarks.bento_report import COMPARED, HOSTS
from benchmarks.report import DOCS, write_report
from benchmarks.results import FOLDER, QUICK_FOLDER, write_results
from benchmarks.servers import run_bento, run_sparing
from benchmarks.side_by_side import measure_kinds

STARTS = (lambda models, settings, _: run_sparing(models, settings), run_bento)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="one run of 0.5 s, into runs/bench/")
    options = parser.parse_args()
    runs, seconds = (1, 0.5) if options.quick else (options.runs, options.seconds)
    command = "python -m benchmarks.bento" + (
        " --quick" if options.quick else f" --runs {runs} --seconds {seconds:g}"
    )
    kinds = dict(zip(HOSTS, STARTS, strict=True))
    samples = measure_kinds(kinds, COMPARED, runs, seconds, Console(stderr=True))
    path = write_results("bento", command, samples, QUICK_FOLDER if options.quick else FOLDER)
    print(write_report("bento", path, QUICK_FOLDER if options.quick else DOCS))
    faults = sum(s.value for s in samples if s.metric in ("errors", "wrong"))
    if faults:
        sys.exit(f"{faults:.0f} answers were errors or wrong; the results say in which cases")


if __name__ == "__main__":
    main()
