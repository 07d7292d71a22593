"""`python -m benchmarks.energy`: are joules entered rightly, what does that cost, what is saved.

This machine may have no meter, so the checks of the ledger read a counter driven by the CPU time
really used, whose truth is known (`fake_rapl`). What the shipped routes take is told by the
machine's own meter if it has one, else by the model, and labelled so. The numbers go to
`benchmarks/results/`, what they mean to `docs/reports/energy.md`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.energy_calls import measure_calls
from benchmarks.energy_claim import measure_claim
from benchmarks.energy_cost import measure_cost
from benchmarks.energy_truth import measure_truth
from benchmarks.report import DOCS, write_report
from benchmarks.results import FOLDER, QUICK_FOLDER, write_results
from benchmarks.serving import gather_models
from core.errors import SparingError
from training.data.sets import load_data

QUICK_S = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="shipped routes")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="4 s each, into runs/bench/")
    options = parser.parse_args()
    seconds = QUICK_S if options.quick else options.seconds
    command = "python -m benchmarks.energy " + (
        "--quick" if options.quick else f"--seconds {seconds:g}"
    )
    console = Console(stderr=True)
    try:
        grey, colour = load_data("fashion-mnist").test, load_data("cifar10").test
        with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder:
            work = Path(folder)
            served = gather_models(options.models, work)
            samples = [
                *measure_truth(served, grey.pictures[:2000], work, seconds, console),
                *measure_calls(work),
                *measure_cost(served, work, seconds / 6, console),
                *measure_claim(
                    options.models,
                    colour.pictures[:2000],
                    grey.pictures[:2000],
                    work,
                    seconds,
                    console,
                ),
            ]
    except (SparingError, RuntimeError, ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    path = write_results("energy", command, samples, QUICK_FOLDER if options.quick else FOLDER)
    print(write_report("energy", path, QUICK_FOLDER if options.quick else DOCS))


if __name__ == "__main__":
    main()
