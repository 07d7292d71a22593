"""`python -m benchmarks.dual_cnn`: what the cascade saves, without a server.

Accuracy, executed MACs and device time (CPU time inside the stages, one thread) a picture on the
whole test set: the shipped cascade, the large model and every net of the pool (`--pool`), so
that the fair rival is there: the cheapest single net that is as accurate. All take turns in every
run. The first two cases of a result file are the cascade and the large model, the others the nets.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Curves, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Floats, Target, each, ratio, value
from core.devices.onnx import OnnxDevice
from harness.load.traffic import Labels, Pictures
from harness.results import Results, Sample
from harness.stage_time import StageRun, open_route, run_stages
from training.data.sets import load_data
from training.export.cost import count_macs

POOLS = Path("benchmarks/pool")
BATCHES = (1, 32)
ROWS_AT_BATCH_1 = 1000
QUICK_ROWS = 500
Run = Callable[[Pictures, int], StageRun]  # labels pictures in batches of so many
MEASURES = {"device time": "device_us_batch_32", "MACs": "macs"}
# By data set, in per cent and points of the test set: the cascade's accuracy, and what it may lose.
LIMITS = {"fashion-mnist": (93.0, 0.3), "cifar10": (91.5, 0.5)}
LARGE_LIMITS = {"fashion-mnist": 93.3}
COLUMNS = plain({
    "accuracy": "accuracy",
    "macs": "MACs/picture",
    "device_us_batch_32": "device µs, batch 32",
    "device_us_batch_1": "device µs, batch 1",
})  # fmt: skip


def list_targets(results: Results) -> Sequence[Target]:
    cascade, large = results.cases()[:2]
    least, lost = LIMITS[cascade]
    return [
        *(
            Target("Accuracy of the large model", value(large, "accuracy", 100), at_least=limit,
                   unit="%", digits=2)
            for data, limit in LARGE_LIMITS.items() if data == cascade
        ),
        Target("Accuracy of the cascade", value(cascade, "accuracy", 100), at_least=least,
               unit="%", digits=2),
        Target("Accuracy lost by the cascade",
               lambda r: 100 * (each(r, large, "accuracy") - each(r, cascade, "accuracy")), lost,
               unit="points", digits=2),
        *(
            Target(f"Mean {what}, of the large model's", ratio(cascade, large, metric, 100), 20,
                   unit="%")
            for what, metric in MEASURES.items()
        ),
        *(
            Target(f"Mean {what}, of the cheapest single network's that is as accurate",
                   _beside_rival(metric), 50, unit="%")
            for what, metric in MEASURES.items()
        ),
    ]  # fmt: skip


def find_rival(results: Results, metric: str) -> str | None:
    """The single network cheapest by `metric` that is as accurate as the cascade, or None."""
    cascade, large, *nets = results.cases()
    least = results.median(cascade, "accuracy")
    able = [net for net in (*nets, large) if results.median(net, "accuracy") >= least]
    return min(able, key=lambda net: results.median(net, metric), default=None) if nets else None


def _beside_rival(metric: str) -> Figure:
    def figure(results: Results) -> Floats:
        rival = find_rival(results, metric)
        if rival is None:
            return np.array([])
        return 100 * each(results, results.cases()[0], metric) / each(results, rival, metric)

    return figure


def draw(results: Results) -> list[Panel]:
    """Accuracy against MACs and against device time."""
    return [
        Curves("", label, "test accuracy, %", {
            case: [(results.median(case, metric) / scale, 100 * results.median(case, "accuracy"))]
            for case in results.cases()
        }, log="x", named=True, marked=results.cases()[:2])
        for metric, scale, label in (("macs", 1e6, "mean MMACs a picture"),
                                     ("device_us_batch_32", 1, "mean device time a picture, µs"))
    ]  # fmt: skip


REPORTS = {
    data: Report(bench, bench, f"What the cascade saves on {data}", list_targets, draw,
                 [Table(COLUMNS)])
    for data, bench in (("fashion-mnist", "dual_cnn"), ("cifar10", "dual_cnn_cifar10"))
}  # fmt: skip


def measure_cascade(options: argparse.Namespace, console: Console) -> list[Sample]:
    test = load_data(options.data).test
    rivals = gather_rivals(options.models, options.data, options.pool or POOLS / options.data)
    rows = QUICK_ROWS if options.quick else len(test.pictures)
    return measure_rivals(rivals, test.pictures[:rows], test.labels[:rows], options.runs, console)


def gather_rivals(models: Path, data: str, pool: Path) -> dict[str, Run]:
    """Both shipped routes, then the pool's nets in order of name."""
    nets = sorted(pool.glob("*.onnx"))
    if not nets:
        raise FileNotFoundError(f"{pool} has no .onnx files")
    routes = (data, f"{data}-large")
    rivals: dict[str, Run] = {
        route: partial(run_stages, open_route(models, route).pipeline) for route in routes
    }
    return rivals | {path.stem: _net(path) for path in nets}


def measure_rivals(
    rivals: dict[str, Run], pictures: Pictures, labels: Labels, runs: int, console: Console
) -> list[Sample]:
    """Accuracy and MACs once, time at each batch size in every run."""
    samples: list[Sample] = []
    for run in range(runs):
        for name, rival in list(rivals.items())[:: 1 if run % 2 == 0 else -1]:
            for batch in BATCHES:
                rows = len(pictures) if batch > 1 else min(ROWS_AT_BATCH_1, len(pictures))
                found = rival(pictures[:rows], batch)
                device_us = sum(found.device_s.values()) * 1e6 / rows
                samples.append(Sample(name, run, f"device_us_batch_{batch}", device_us))
            console.print(f"run {run + 1}/{runs} {name:20} {device_us:8.1f} µs a picture")
            if run == 0:
                samples += _describe(name, found, labels)
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


def _net(path: Path) -> Run:
    """A bare net: its session and an argmax, less than what a stage does."""
    session, macs = OnnxDevice().open(path), count_macs(path)

    def run(pictures: Pictures, batch: int) -> StageRun:
        started, rows = time.thread_time(), len(pictures)
        parts = [
            session.run(["logits"], {"image": pictures[start : start + batch]})[0].argmax(axis=1)
            for start in range(0, rows, batch)
        ]
        device_s = {"net": time.thread_time() - started}
        return StageRun(np.concatenate(parts), device_s, {"net": macs * rows}, {"net": rows})

    return run


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--data", choices=REPORTS, default="fashion-mnist")
    parser.add_argument(
        "--pool", type=Path, help="directory of <network>.onnx; default: benchmarks/pool/<data>"
    )
    run_benchmark(parser, measure_cascade, lambda options: REPORTS[options.data], runs=1)
