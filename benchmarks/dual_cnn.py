"""`python -m benchmarks.dual_cnn`: what the cascade saves, without a server.

Accuracy, executed MACs and device time (CPU time inside the stages, one thread) a picture on the
whole test set: the shipped cascade and the large model, in float, in int8 and with the faster
file of each stage ("mixed"), and every net of the pool (`--pool`) in float and int8, so that the
fair rival is there: the cheapest single net that is as accurate. All take turns in every run. The
first two cases of a result file are the cascade and the large model in float; those of the pool
have no data set in their names.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Curves, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Figure, Floats, Target, each, ratio, value
from cascades.thresholds import Grades
from core.devices.int8_speed import describe_cpu
from core.devices.interface import Precision
from core.devices.onnx import OnnxDevice
from harness.load.traffic import Labels, Pictures
from harness.results import Results, Sample
from harness.stage_time import StageRun, open_route, run_stages
from importing.verdict import compare_hits
from training.data.sets import load_data
from training.export.cost import count_macs

POOLS = Path("benchmarks/pool")
BATCHES = (1, 32)
TIMED = "device_us_batch_32"
PRECISIONS: Mapping[str, Precision] = {"": "float32", " int8": "int8", " mixed": "auto"}
ROWS_AT_BATCH_1 = 1000
QUICK_ROWS = 500
Run = Callable[[Pictures, int], StageRun]  # labels pictures in batches of so many
MEASURES = {"device time": "device_us_batch_32", "MACs": "macs"}
# By data set, in per cent and points of the test set: the cascade's accuracy, and what it may lose.
LIMITS = {"fashion-mnist": (93.0, 0.3), "cifar10": (91.5, 0.5)}
LARGE_LIMITS = {"fashion-mnist": 93.3}
INT8_LIMIT = 0.1  # points that an int8 file may lose
VNNI_SPEEDUP, VNNI_MACS = 2.5, 30e6  # of nets from so many MACs on, on CPUs with VNNI
COLUMNS = plain({
    "accuracy": "accuracy",
    "macs": "MACs/picture",
    "device_us_batch_32": "device µs, batch 32",
    "device_us_batch_1": "device µs, batch 1",
})  # fmt: skip


INT8_COLUMNS = plain({
    "float_us": "float32, µs",
    "int8_us": "int8 or mixed, µs",
    "speedup": "times as fast",
    "lead": "accuracy, points above float32",
    "lead_low": "lower end, 95 %",
    "lead_high": "upper end, 95 %",
})  # fmt: skip


def list_targets(results: Results) -> Sequence[Target]:
    return [*_list_float_targets(results), *_list_int8_targets(results)]


def _list_int8_targets(results: Results) -> Sequence[Target]:
    """Only where int8 files were measured. The cascade in int8 has a rival of its own."""
    cascade, large, *others = results.cases()
    if f"{cascade} int8" not in others:
        return []
    twins = [case for case in others if case.endswith("int8")]
    int8_large = _find_int8_large(results, f"{large} int8")
    faster_large = min(large, int8_large, key=lambda case: results.median(case, TIMED))
    fast = [
        Target(f"Speed of {case}, of float32's", value(case, "speedup"), at_least=VNNI_SPEEDUP,
               unit="times")
        for case in twins
        if results.median(cascade, "vnni") and results.median(case, "macs") >= VNNI_MACS
    ]  # fmt: skip
    return [
        *(
            Target(f"Accuracy lost by {case}", value(case, "lead", -1.0), INT8_LIMIT,
                   unit="points", digits=2)
            for case in twins
        ),
        *fast,
        Target("Mean device time of the int8 cascade, of the int8 large model's",
               ratio(f"{cascade} int8", int8_large, TIMED, 100), 50, unit="%"),
        Target("Mean device time of the mixed cascade, of the large model's faster file",
               ratio(f"{cascade} mixed", faster_large, TIMED, 100), 50, unit="%"),
    ]  # fmt: skip


def _find_int8_large(results: Results, shipped: str) -> str:
    """The large model in int8: the route's own file, else the most accurate one of the pool."""
    cases = results.cases()
    pool = [case for case in cases if case.endswith("-int8")]
    if shipped in cases or not pool:
        return shipped
    return max(pool, key=lambda case: results.median(case, "accuracy"))


def _list_float_targets(results: Results) -> Sequence[Target]:
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
    cascade, large, *others = results.cases()
    nets = [case for case in others if not case.startswith(cascade)]
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
                 [Table(COLUMNS),
                  Table(INT8_COLUMNS, "Int8 files, and the faster files, beside float32, in "
                        "batches of 32:")])
    for data, bench in (("fashion-mnist", "dual_cnn"), ("cifar10", "dual_cnn_cifar10"))
}  # fmt: skip


def measure_cascade(options: argparse.Namespace, console: Console) -> list[Sample]:
    test = load_data(options.data).test
    rivals = gather_rivals(options.models, options.data, options.pool or POOLS / options.data)
    rows = QUICK_ROWS if options.quick else len(test.pictures)
    return measure_rivals(rivals, test.pictures[:rows], test.labels[:rows], options.runs, console)


def gather_rivals(models: Path, data: str, pool: Path) -> dict[str, Run]:
    """Both shipped routes in every precision, then the pool's nets in order of name."""
    nets = sorted(pool.glob("*.onnx"))
    if not nets:
        raise FileNotFoundError(f"{pool} has no .onnx files")
    rivals: dict[str, Run] = {}
    for suffix, precision in PRECISIONS.items():
        for route in (data, f"{data}-large"):
            loaded = open_route(models, route, precision)
            if not suffix or any(stage.int8_file for stage in loaded.manifest.stages):
                rivals[f"{route}{suffix}"] = partial(run_stages, loaded.pipeline)
    return rivals | {path.stem: _net(path) for path in nets}


def measure_rivals(
    rivals: dict[str, Run], pictures: Pictures, labels: Labels, runs: int, console: Console
) -> list[Sample]:
    """Accuracy and MACs once, time at each batch size in every run."""
    samples: list[Sample] = []
    hits: dict[str, Grades] = {}
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
                hits[name] = found.labels == labels
    first = next(iter(rivals))
    samples.append(Sample(first, 0, "vnni", float("vnni" in describe_cpu())))
    return samples + compare_precisions(samples, hits)


def compare_precisions(samples: Sequence[Sample], hits: Mapping[str, Grades]) -> list[Sample]:
    """What int8 and faster files gain in time, run by run, and in accuracy, with its interval."""
    found: list[Sample] = []
    results = Results({}, samples)
    for name in hits:
        other = name.removesuffix("-int8").removesuffix(" int8").removesuffix(" mixed")
        if other == name or other not in hits:
            continue
        pairs = zip(results.values(name, TIMED), results.values(other, TIMED), strict=True)
        for run, (int8_us, float_us) in enumerate(pairs):
            times = {"float_us": float_us, "int8_us": int8_us, "speedup": float_us / int8_us}
            found += [Sample(name, run, metric, value) for metric, value in times.items()]
        lead = compare_hits(hits[name], hits[other])
        found += [
            Sample(name, 0, metric, 100 * value)
            for metric, value in zip(("lead", "lead_low", "lead_high"), lead, strict=True)
        ]
    return found


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
