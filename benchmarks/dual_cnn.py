"""`python -m benchmarks.dual_cnn`: what the cascade saves, without a server.

Accuracy, executed MACs and device time (CPU time inside the stages, one thread) a picture on the
whole test set: the shipped cascade, the large model and every net of the pool (`--pool`), so
that the fair rival is there: the cheapest single net that is as accurate. All take turns in every
run.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console

from benchmarks.report import DOCS, write_report
from benchmarks.results import FOLDER, QUICK_FOLDER, Sample, write_results
from benchmarks.stage_time import StageRun, open_route, run_stages
from benchmarks.traffic import Labels, Pictures
from core.devices import open_onnx
from core.messages import Pipeline
from training.data.sets import load_data
from training.export.cost import count_macs

POOLS = Path("benchmarks/pool")
BATCHES = (1, 32)
ROWS_AT_BATCH_1 = 1000
QUICK_ROWS = 500
Run = Callable[[Pictures, int], StageRun]


@dataclass(frozen=True, slots=True)
class Rival:
    """Something that labels pictures in batches."""

    name: str
    run: Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="shipped routes")
    parser.add_argument("--data", default="fashion-mnist", help="a data set with shipped routes")
    parser.add_argument(
        "--pool", type=Path, help="directory of <net>.onnx; default: benchmarks/pool/<data>"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="one run on few pictures, into runs/bench/"
    )
    options = parser.parse_args()
    try:
        test = load_data(options.data).test
        rivals = gather_rivals(options.models, options.data, options.pool or POOLS / options.data)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    rows = QUICK_ROWS if options.quick else len(test.pictures)
    samples = measure_rivals(
        rivals,
        test.pictures[:rows],
        test.labels[:rows],
        1 if options.quick else options.runs,
        Console(stderr=True),
    )
    quick = " --quick" if options.quick else ""
    command = f"python -m benchmarks.dual_cnn --data {options.data}{quick}"
    bench = "dual_cnn" if options.data == "fashion-mnist" else f"dual_cnn_{options.data}"
    path = write_results(bench, command, samples, QUICK_FOLDER if options.quick else FOLDER)
    print(write_report(bench, path, QUICK_FOLDER if options.quick else DOCS))


def gather_rivals(models: Path, data: str, pool: Path) -> list[Rival]:
    """Both shipped routes, then the pool's nets in order of name."""
    routes = (data, f"{data}-large")
    rivals = [_route(route, open_route(models, route).pipeline) for route in routes]
    nets = sorted(pool.glob("*.onnx"))
    if not nets:
        raise FileNotFoundError(f"{pool} has no .onnx files")
    return rivals + [_net(path) for path in nets]


def measure_rivals(
    rivals: Sequence[Rival], pictures: Pictures, labels: Labels, runs: int, console: Console
) -> list[Sample]:
    """Accuracy and MACs once, time at each batch size in every run."""
    samples: list[Sample] = []
    for run in range(runs):
        for rival in rivals if run % 2 == 0 else reversed(rivals):
            for batch in BATCHES:
                rows = len(pictures) if batch > 1 else min(ROWS_AT_BATCH_1, len(pictures))
                found = rival.run(pictures[:rows], batch)
                device_us = sum(found.device_s.values()) * 1e6 / rows
                samples.append(Sample(rival.name, run, f"device_us_batch_{batch}", device_us))
            console.print(f"run {run + 1}/{runs} {rival.name:20} {device_us:8.1f} µs a picture")
            if run == 0:
                samples += _describe(rival.name, found, labels)
    return samples


def _describe(name: str, found: StageRun, labels: Labels) -> list[Sample]:
    """What does not change from run to run, of a run over all pictures."""
    rows = len(labels)
    facts = {
        "accuracy": float((found.labels == labels).mean()),
        "macs": sum(found.macs.values()) / rows,
        "rows": rows,
    }
    shares = {f"share_{stage}": count / rows for stage, count in found.rows.items()}
    return [Sample(name, 0, metric, value) for metric, value in (facts | shares).items()]


def _route(name: str, pipeline: Pipeline) -> Rival:
    return Rival(name, lambda pictures, batch: run_stages(pipeline, pictures, batch))


def _net(path: Path) -> Rival:
    """A bare net: its session and an argmax, less than what a stage does."""
    session, macs = open_onnx(path), count_macs(path)

    def run(pictures: Pictures, batch: int) -> StageRun:
        started = time.thread_time()
        parts = [
            _run_net(session, pictures[start : start + batch])
            for start in range(0, len(pictures), batch)
        ]
        seconds = time.thread_time() - started
        rows = len(pictures)
        return StageRun(
            np.concatenate(parts), {"net": seconds}, {"net": macs * rows}, {"net": rows}
        )

    return Rival(path.stem, run)


def _run_net(session: onnxruntime.InferenceSession, pictures: Pictures) -> Labels:
    labels: Labels = session.run(["logits"], {"image": pictures})[0].argmax(axis=1)
    return labels


if __name__ == "__main__":
    main()
