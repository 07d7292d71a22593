"""The candidates in int8: accuracy on the test set, and what their bare nets cost beside float."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.compare.measuring.bare import REPEATS, time_bare
from benchmarks.compare.measuring.candidates import Candidate
from harness.results import Sample
from harness.stage_time import StageRun, open_route, run_stages
from importing.compressing.route import compress_route
from importing.onnx_files.faults import ImportFault
from routes.loading import LoadedRoute
from training.data.sets import DataSet

TRAINING_ROWS = 1_000  # half of them calibrate
BATCH_ROWS = 32


def measure_int8(candidates: Sequence[Candidate], data: DataSet) -> Iterator[Sample]:
    """Every candidate whose stages can be quantised, on training pictures, without losing much."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows = folder / "rows.npz"
        train = data.train
        np.savez(rows, x=train.pictures[:TRAINING_ROWS], y=train.labels[:TRAINING_ROWS])
        for one in candidates:
            try:
                compress_route(one.directory, str(rows), folder / "models")
            except ImportFault:
                continue
            route = open_route(folder / "models", one.route.manifest.route, "int8")
            yield from _measure(one, route, folder / "models", data)


def _measure(one: Candidate, route: LoadedRoute, models: Path, data: DataSet) -> Iterator[Sample]:
    found = run_stages(route.pipeline, data.test.pictures, BATCH_ROWS)
    accuracy = float((found.labels == data.test.labels).mean())
    yield Sample(one.name, one.seed, "int8_accuracy", accuracy)
    place = models / route.manifest.route / route.manifest.version
    for repeat in range(1, REPEATS + 1):
        for precision in ("float32", "int8"):
            us = _time(place, route, found, len(data.test.labels), precision)
            yield Sample(one.name, repeat, f"{precision}_bare_us", us)


def _time(place: Path, route: LoadedRoute, ran: StageRun, rows: int, precision: str) -> float:
    """CPU µs a picture of the bare nets, each as often as the int8 files' answers run it."""
    total_us = 0.0
    for spec in route.manifest.stages:
        file = spec.file if precision == "int8" else f"{spec.name}.onnx"
        total_us += ran.rows.get(spec.name, 0) / rows * time_bare(place / file)
    return total_us
