"""`python -m benchmarks.own_models`: nets of others become routes, each by one import.

EfficientNet-Lite0, 1 and 2 on the ImageNet sample in `$SPARING_DATA`, and, with `--cifar-nets`, two
ONNX files `mobile.onnx` and `resnet.onnx` on CIFAR-10. What an import prints is what is recorded:
each net alone in float and int8, and the cascade, on rows that chose nothing.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.own_models.efficientnet import SIZES_PX, export_nets, write_pictures
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Curves, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Floats, Target, each, value
from harness.results import Results, Sample
from importing.options import ImportOptions, Stage
from importing.route import Imported, import_route
from training.data.sets import load_data

LITE, CIFAR = "efficientnet", "two-cifar"
CIFAR_NETS = ("mobile", "resnet")
CIFAR_ROWS, QUICK_ROWS = 5_000, 600
MAX_LOSS = 0.01  # of the import, its default
# Pixels less 127 over 128, or as in [-1, 1]: the same but for half a step of a pixel.
RIGHT_STEPS = ("scale=1,mean=127,std=128", "scale=255,mean=0.5,std=0.5")
COLUMNS = plain({
    "accuracy": "accuracy",
    "us": "CPU µs/row",
    "mj": "mJ/row",
    "macs": "MACs/row",
    "kilobytes": "kB",
    "lead": "points from the reference",
    "lead_low": "lower end, 95 %",
    "lead_high": "upper end, 95 %",
})  # fmt: skip
IMPORTS = plain({
    "seconds": "seconds in all",
    "choosing_rows": "choosing rows",
    "test_rows": "test rows",
    "steps_found": "nets whose preprocessing was found",
})  # fmt: skip


def _chosen(route: str) -> str:
    return f"{route}, chosen"


def _of_reference(route: str, reference: str) -> Figure:
    def figure(results: Results) -> Floats:
        mine, other = (each(results, case, "us") for case in (_chosen(route), reference))
        return 100 * mine / other

    return figure


def _beside_cheapest(results: Results) -> Floats:
    """Time of the choice, of the cheapest's that is not shown to be worse than Lite2."""
    able = [
        case for case in results.cases()
        if case.startswith(f"{LITE} ") and results.median(case, "lead_high") >= 0
    ]  # fmt: skip
    cheapest = min((results.median(case, "us") for case in able), default=np.nan)
    return 100 * each(results, _chosen(LITE), "us") / cheapest


TARGETS = (
    Target("Two CIFAR nets: seconds of the import", value(CIFAR, "seconds"), 60, unit="s"),
    Target("Two CIFAR nets: accuracy lost by the choice",
           value(_chosen(CIFAR), "lead", -1.0), 1, unit="points", digits=2),
    Target("Two CIFAR nets: time of the choice, of the better net's",
           _of_reference(CIFAR, f"{CIFAR} {CIFAR_NETS[-1]}"), 75, unit="%"),
    Target("EfficientNet-Lite: seconds of the import", value(LITE, "seconds"), 480, unit="s"),
    Target("EfficientNet-Lite: accuracy lost by the choice, of Lite2's",
           value(_chosen(LITE), "lead", -1.0), 0, unit="points", digits=2),
    Target("EfficientNet-Lite: time of the choice, of Lite2's in float",
           _of_reference(LITE, f"{LITE} lite2"), 75, unit="%"),
    Target("EfficientNet-Lite: time of the choice, of the cheapest's that is not shown to lose",
           _beside_cheapest, 100, unit="%"),
    Target("EfficientNet-Lite: nets whose preprocessing `auto` found",
           value(LITE, "steps_found"), at_least=len(SIZES_PX), digits=0),
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    """Accuracy against CPU time, a panel an import."""
    panels: list[Panel] = []
    for route in (LITE, CIFAR):
        cases = [case for case in results.cases() if case.startswith(f"{route} ")]
        points = {
            case.removeprefix(f"{route} "): [
                (results.median(case, "us"), 100 * results.median(case, "accuracy"))
            ]
            for case in cases
        }
        if points:
            panels.append(
                Curves(route, "CPU time a row, µs", "accuracy on the test rows, %", points,
                       log="x", named=True, marked=("cascade",))
            )  # fmt: skip
    return panels


REPORT = Report(
    "own_models", "own_models", "Nets of others", TARGETS, draw,
    [Table(COLUMNS), Table(IMPORTS, "The imports:")],
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """One import."""

    route: str
    stages: Sequence[Path]
    data: Path
    nets_to_find: Sequence[str] = ()  # nets whose preprocessing must be found


def measure_own_models(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    done = 0
    with tempfile.TemporaryDirectory(prefix="sparing-bench-") as folder:
        for make in (_make_cifar, _make_efficientnet):
            try:
                job = make(options, Path(folder), console)
            except FileNotFoundError as error:
                console.print(str(error))
                continue
            done += 1
            yield from run_import(job, Path(folder) / "models", console)
    if not done:
        raise FileNotFoundError("nothing was measured: no nets or pictures were found")


def _make_cifar(options: argparse.Namespace, work: Path, console: Console) -> Job:
    if options.cifar_nets is None:
        raise FileNotFoundError("the two CIFAR-10 nets are left out: give --cifar-nets DIR")
    stages = [options.cifar_nets / f"{net}.onnx" for net in CIFAR_NETS]
    for stage in stages:
        if not stage.is_file():
            raise FileNotFoundError(f"the two CIFAR-10 nets are left out: {stage} is missing")
    rows = QUICK_ROWS if options.quick else CIFAR_ROWS
    test = load_data("cifar10").test
    data = work / "cifar.npz"
    np.savez(data, x=test.pictures[:rows], y=test.labels[:rows])
    return Job(CIFAR, stages, data)


def _make_efficientnet(options: argparse.Namespace, work: Path, console: Console) -> Job:
    root = os.environ.get("SPARING_DATA")
    if not root:
        raise FileNotFoundError("EfficientNet-Lite is left out: set SPARING_DATA")
    data = write_pictures(Path(root), work / "sample.npz")
    console.print("exporting EfficientNet-Lite")
    return Job(LITE, export_nets(work), data, tuple(SIZES_PX))


def run_import(job: Job, out: Path, console: Console) -> Iterator[Sample]:
    """One import; its table as samples."""
    began_s = time.perf_counter()
    imported = import_route(
        job.route,
        [Stage(path) for path in job.stages],
        str(job.data),
        ImportOptions(out=out, max_loss=MAX_LOSS),
        console.print,
    )
    seconds = time.perf_counter() - began_s
    for note in (*imported.notes, imported.sentence):
        console.print(note)
    yield from _list_samples(job, imported, seconds)


def _list_samples(job: Job, imported: Imported, seconds: float) -> Iterator[Sample]:
    verdict = imported.verdict
    assert verdict is not None  # they are classifiers
    facts = {
        "seconds": seconds,
        "choosing_rows": verdict.choosing_rows,
        "test_rows": verdict.test_rows,
        "steps_found": sum(_has_right_steps(net, imported.notes) for net in job.nets_to_find),
    }
    if not job.nets_to_find:
        del facts["steps_found"]
    yield from (Sample(job.route, 0, name, float(number)) for name, number in facts.items())
    for row in verdict.rows:
        found = {
            "accuracy": row.accuracy,
            "us": row.us_per_row,
            **({} if row.mj_per_row is None else {"mj": row.mj_per_row}),
            "macs": row.macs,
            "kilobytes": row.size_bytes / 1000,
            "lead": 100 * row.difference,
            "lead_low": 100 * row.low,
            "lead_high": 100 * row.high,
        }
        cases = [f"{job.route} {row.name}", *([_chosen(job.route)] if row.chosen else [])]
        yield from (
            Sample(case, 0, name, number) for case in cases for name, number in found.items()
        )


def _has_right_steps(net: str, notes: Sequence[str]) -> bool:
    found = [note.partition(" (")[0] for note in notes if note.startswith(f"{net}: preprocessing ")]
    return any(f"{steps},color=RGB" in note for note in found for steps in RIGHT_STEPS)


def main() -> None:
    parser = make_parser(__doc__, runs=None)
    parser.add_argument("--cifar-nets", type=Path, help="folder of mobile.onnx and resnet.onnx")
    run_benchmark(parser, measure_own_models, REPORT)
