"""`python -m benchmarks.dual_cnn`: what the cascade saves, without a server.

Accuracy, executed MACs and device time (CPU time inside the stages, one thread) a picture on the
whole test set: the shipped cascade, the large model and every net of the pool (`--pool`), so
that the fair rival is there: the cheapest single net that is as accurate. All take turns in every
run.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console

from benchmarks.dual_cnn.report import REPORTS
from benchmarks.reporting.command import make_parser, run_benchmark
from core.devices import open_onnx
from core.messages import Pipeline
from harness.load.traffic import Labels, Pictures
from harness.results import Sample
from harness.stage_time import StageRun, open_route, run_stages
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


def measure_cascade(options: argparse.Namespace, console: Console) -> list[Sample]:
    test = load_data(options.data).test
    rivals = gather_rivals(options.models, options.data, options.pool or POOLS / options.data)
    rows = QUICK_ROWS if options.quick else len(test.pictures)
    return measure_rivals(rivals, test.pictures[:rows], test.labels[:rows], options.runs, console)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data", choices=REPORTS, default="fashion-mnist")
    parser.add_argument(
        "--pool", type=Path, help="directory of <network>.onnx; default: benchmarks/pool/<data>"
    )
    run_benchmark(parser, measure_cascade, lambda options: REPORTS[options.data], runs=1)


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
