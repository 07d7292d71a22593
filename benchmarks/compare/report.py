"""Converters, early exits and plain small networks on one data set: targets, plots and tables.

Accuracies are means over seeds; ratios of times are taken run by run.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.compare.measuring.candidates import BASELINE, CANDIDATES, CONVERTERS
from benchmarks.compare.measuring.replay import OTHER
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Curves, Panel
from benchmarks.reporting.tables import Column, Table, plain
from benchmarks.reporting.targets import Figure, Target, each, ratio, total
from harness.results import Results
from studies.converters.corruptions import CORRUPTIONS
from studies.converters.frozen import VARIANTS

EXITS, DENSE, COST = "branchynet", "cbnet-dense", "bulk_cpu_us"
# Accuracy in per cent: as published where every picture is converted, and of the best converter.
LIMITS = {"mnist": (98.6, 99.3), "fashion-mnist": (89.6, 91.5)}
LOADS = plain({
    "lone_p50_ms": "lone p50 ms",
    "lone_device_us": "lone device µs",
    "lone_cpu_us": "lone CPU µs",
    "many_cpu_us": "many CPU µs",
    "many_pictures_s": "many pictures/s",
    "bulk_cpu_us": "bulk CPU µs",
    "bulk_device_us": "bulk device µs",
    "bulk_pictures_s": "bulk pictures/s",
})  # fmt: skip
NETS = (
    Column("accuracy, %", ("accuracy",), 100, 2, "interval"),
    Column("held out, %", ("held_out_accuracy",), 100, 2, "interval"),
    Column("MMACs", ("macs",), 1e-6, 3, "mean"),
    Column("bare networks, µs", ("bare_us",), digits=1),
    Column("bulk device µs", ("bulk_device_us",), digits=1),
    Column("LeNet's over it", ("bulk_device_us",), digits=1, times_less_than=BASELINE),
    Column("bulk CPU µs", (COST,), digits=1),
    Column("bulk mJ", ("bulk_mj",), digits=3),
)
INT8 = (
    Column("accuracy in int8, %", ("int8_accuracy",), 100, 2),
    Column("float32, µs", ("float32_bare_us",), digits=1),
    Column("int8, µs", ("int8_bare_us",), digits=1),
)
CORRUPTED = {
    kind: tuple(f"corrupt_{kind}_{strength}" for strength in range(1, len(amounts) + 1))
    for kind, (_, amounts) in CORRUPTIONS.items()
}


def _corruptions(digits: int) -> tuple[Column, ...]:
    """Accuracy on clean and on corrupted pictures, mean over strengths and seeds."""
    everything = tuple(metric for metrics in CORRUPTED.values() for metric in metrics)
    return (
        Column("clean", ("accuracy",), 100, digits, "mean"),
        *(Column(kind, metrics, 100, 1, "mean") for kind, metrics in CORRUPTED.items()),
        Column("all five, 95 %", everything, 100, digits, "interval"),
    )


def _mean(case: str, metric: str, other: str = "") -> Figure:
    """Over seeds, in per cent; with `other` the points above it."""

    def figure(results: Results) -> np.ndarray:
        values = each(results, case, metric)
        return np.array([100 * np.mean(values - each(results, other, metric) if other else values)])

    return figure


def find_best_converter(results: Results) -> str:
    """By accuracy on held-out pictures, mean over seeds; of equal ones the cheaper."""
    return max(CONVERTERS, key=lambda name: (
        np.mean(results.values(name, "held_out_accuracy")), -results.median(name, COST),
    ))  # fmt: skip


def list_targets(results: Results) -> Sequence[Target]:
    data = results.facts["bench"].removeprefix("compare_")
    published, least = LIMITS[data]
    best = find_best_converter(results)
    targets = [
        Target("Accuracy where every picture is converted, cbnet", _mean("cbnet", "accuracy"),
               at_least=published, unit="%", digits=2),
        Target(f"The same with the authors' own networks, {DENSE}", _mean(DENSE, "accuracy"),
               at_least=published, unit="%", digits=2),
        Target(f"Accuracy of the best converter, {best}", _mean(best, "accuracy"),
               at_least=least, unit="%", digits=2),
        *(
            Target(f"Accuracy of {best} above {other}'s", _mean(best, "accuracy", other),
                   at_least=0, unit="points", digits=2)
            for other in (BASELINE, EXITS)
        ),
        *(
            Target(f"Device time of {best}, {where}: times less than LeNet's",
                   ratio(BASELINE, best, metric), at_least=6, unit="×")
            for metric, where in (("bare_us", "bare networks"),
                                  ("bulk_device_us", "in the server's stages"))
        ),
        *(
            Target(f"CPU that {best} saves against {other}, whole server, 32 pictures a request",
                   _saving(best, other), at_least=limit, unit="%", digits=0)
            for other, limit in ((BASELINE, 79), (EXITS, 30))
        ),
    ]  # fmt: skip
    if data == "mnist":
        targets += [
            Target("Pictures that leave BranchyNet at exit 1", _mean(EXITS, "ended_0"),
                   at_least=94, unit="%"),
            Target("Accuracy of BranchyNet with its exits", _mean(EXITS, "accuracy"),
                   at_least=99.1, unit="%", digits=2),
        ]  # fmt: skip
    kinds = [
        f"{shape}_{fault}" for shape in ("lone", "many", "bulk") for fault in ("errors", "wrong")
    ]
    return [*targets, Target("Errors and wrong answers under load", total(*kinds), 0, digits=0)]


def _saving(best: str, other: str) -> Figure:
    share = ratio(best, other, COST)
    return lambda results: 100 * (1 - share(results))


def draw(results: Results) -> list[Panel]:
    """Accuracy against CPU, and how confident each is of pictures of none of the classes."""
    names = [name for name in CANDIDATES if name in results.cases()]
    unrelated = [s.metric for s in results.samples if s.metric.startswith("strange_")]
    return [
        Curves("accuracy against CPU; orange: converters", "CPU of the whole server, µs a picture",
               "test accuracy, %", {
                   name: [(results.median(name, COST), _mean(name, "accuracy")(results)[0])]
                   for name in names
               }, log="x", named=True, marked=CONVERTERS),
        Bars("pictures of no class answered with confidence ≥ 0.9, %", names, {
            metric.removeprefix("strange_"): [_mean(name, metric)(results)[0] for name in names]
            for metric in dict.fromkeys(unrelated)
        }),
    ]  # fmt: skip


def make_report(data: str) -> Report:
    names = {name: f"`{name}`" for name in CANDIDATES}
    unrelated = tuple(
        Column(f"confident of {name}", (f"strange_{name}",), 100, 1, "mean")
        for name in (OTHER[data], "noise")
    )
    return Report(
        f"compare_{data}", "cbnet", f"What converting is worth on {data}", list_targets, draw, [
            Table(NETS, "All networks:", names),
            Table(INT8, "In int8, of the first seed; bare networks in batches of 32:", names),
            Table(LOADS, "Under load:", names),
            Table((*_corruptions(1), *unrelated), "Corrupted pictures, and pictures of no class, "
                  "in per cent:", names),
            Table((*_corruptions(2), NETS[2]), "A frozen classifier on corrupted pictures, "
                  "accuracy in per cent:", VARIANTS),
        ],
    )  # fmt: skip


REPORTS = {data: make_report(data) for data in LIMITS}
