"""The report of the cascade without a server: its targets, its picture, and how it was chosen.

The first two cases of a result file are the cascade and the large model, the others the pool's
nets. Ratios are taken run by run, as runs are neighbours in time.
"""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.reporting.plots import BASELINE, OURS, save
from benchmarks.reporting.verdicts import Row, at_least, at_most, each
from harness.results import Results

COLUMNS = {
    "accuracy": "accuracy",
    "macs": "MACs/picture",
    "device_us_batch_32": "device µs, batch 32",
    "device_us_batch_1": "device µs, batch 1",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a data set's cascade has to reach, in per cent and points of the test set."""

    cascade: float
    lost: float
    large: float | None = None


TARGETS = {
    "fashion-mnist": Target(cascade=93.0, lost=0.3, large=93.3),
    "cifar10": Target(cascade=91.5, lost=0.5),
}


def judge_dual_cnn(results: Results) -> list[Row]:
    """Every target of the shipped cascade, offline."""
    name, large_name = results.cases()[:2]
    target = TARGETS[name]
    large, cascade = (results.median(route, "accuracy") * 100 for route in (large_name, name))
    rows = []
    if target.large is not None:
        rows.append(at_least("Accuracy of the large model", [large], target.large, "%",
                             "on the test set", 2))  # fmt: skip
    rows += [
        at_least("Accuracy of the cascade", [cascade], target.cascade, "%", "on the test set", 2),
        at_most("Accuracy lost by the cascade", [large - cascade], target.lost, "points",
                f"{large:.2f} % − {cascade:.2f} %", 2),
    ]  # fmt: skip
    for what, metric in (("device time", "device_us_batch_32"), ("MACs", "macs")):
        share = 100 * each(results, name, metric) / each(results, large_name, metric)
        rows.append(at_most(f"Mean {what}, of the large model's", share, 20, "%",
                            _numbers(results, metric, name, large_name)))  # fmt: skip
    return rows + [
        _judge_rival(results, what, metric)
        for what, metric in (("device time", "device_us_batch_32"), ("MACs", "macs"))
    ]


def find_rival(results: Results, metric: str) -> str | None:
    """The single net cheapest by `metric` that is as accurate as the cascade, or None."""
    cascade, large, *nets = results.cases()
    if not nets:
        return None
    least = results.median(cascade, "accuracy")
    able = [net for net in (*nets, large) if results.median(net, "accuracy") >= least]
    return min(able, key=lambda net: results.median(net, metric), default=None)


def _judge_rival(results: Results, what: str, metric: str) -> Row:
    name = f"Mean {what}, of the cheapest single net's with at least the cascade's accuracy"
    rival, cascade = find_rival(results, metric), results.cases()[0]
    if rival is None:
        pool = len(results.cases()) > 2
        why = "no net of the pool is as accurate as the cascade" if pool else "no pool was measured"
        return Row(name, "≤ 50 %", "–", None, why)
    share = 100 * each(results, cascade, metric) / each(results, rival, metric)
    return at_most(name, share, 50, "%", _numbers(results, metric, cascade, rival))


def plot_dual_cnn(results: Results, path: Path) -> None:
    """Accuracy against MACs and against device time."""
    cascade, large = results.cases()[:2]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    measures = (("macs", 1e6, "mean MMACs a picture"), ("device_us_batch_32", 1, "mean device µs"))
    for axes, (metric, scale, label) in zip(panels, measures, strict=True):
        for case in results.cases():
            x, y = results.median(case, metric) / scale, results.median(case, "accuracy") * 100
            colour = OURS if case in (cascade, large) else BASELINE
            axes.plot(x, y, "*" if case == cascade else "o", color=colour, markersize=10)
            place = (-70, 8) if case == large else (6, -12)  # it is one of the pool's nets, too
            axes.annotate(case, (x, y), textcoords="offset points", xytext=place, fontsize=8)
        axes.set(xscale="log", xlabel=label, ylabel="test accuracy, %")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.2, y=0.15)
        axes.grid(alpha=0.3)
    save(figure, path)


def _numbers(results: Results, metric: str, ours: str, other: str) -> str:
    unit, scale = ("MMACs", 1e6) if metric == "macs" else ("µs", 1.0)
    one, two = (results.median(case, metric) / scale for case in (ours, other))
    return f"{one:.3g} of {two:.3g} {unit} of {other}"
