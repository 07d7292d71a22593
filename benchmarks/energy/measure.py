"""`python -m benchmarks.energy`: is the ledger right, what does it cost, what do routes take.

This machine may have no meter, so the checks of the ledger read a counter driven by the CPU time
really used, whose truth is known (`fake_rapl`). What the shipped routes take is from the
machine's own meter if it has one, else from the model, and labelled so.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.energy.calls import measure_calls
from benchmarks.energy.claim import measure_claim
from benchmarks.energy.cost import measure_cost
from benchmarks.energy.report import REPORT
from benchmarks.energy.truth import measure_truth
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.serving.measure import gather_models
from harness.results import Sample
from training.data.sets import load_data

PICTURES = 2000


def measure_energy(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    grey = load_data("fashion-mnist").test.pictures[:PICTURES]
    colour = load_data("cifar10").test.pictures[:PICTURES]
    seconds = options.seconds
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder:
        work = Path(folder)
        served = gather_models(options.models, work)
        yield from measure_truth(served, grey, work, seconds, console)
        yield from measure_calls(work)
        yield from measure_cost(served, work, seconds / 6, console)
        yield from measure_claim(options.models, colour, grey, work, seconds, console)


def main() -> None:
    run_benchmark(
        make_parser(__doc__, runs=None, seconds=60.0), measure_energy, REPORT, seconds=4.0
    )
