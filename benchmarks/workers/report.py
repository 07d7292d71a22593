"""The report of several processes on one machine beside one: targets and picture.

Ratios are taken run by run, as both get the same load right after one another.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting.plots import BASELINE, OURS, save
from benchmarks.reporting.verdicts import Floats, Row, at_least, at_most, each
from benchmarks.serving.judging import count_faults
from harness.results import Results

KINDS = {"1": 1, "2": 2}  # workers, as a case's name ends
COMPARED = {
    "hit": "a memory hit, HTTP binary",
    "small-cnn-http": "a small CNN, HTTP binary",
    "small-cnn-grpc": "a small CNN, gRPC",
    "picture": "a small CNN, a PNG over HTTP",
    "lone-http": "a lone request, HTTP binary",
    "cascade": "the Fashion-MNIST cascade, HTTP binary",
    "large": "its large model, HTTP binary",
}
COLUMNS = {
    "cpu_us": "CPU µs/request",
    "requests_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "ready_s": "ready s",
    "resident_mb": "resident MB",
}


def judge_workers(results: Results) -> list[Row]:
    """What a second process costs a request, and what it brings where the model is the bottleneck;
    the limits are ours.
    """
    rows = []
    for case, words in COMPARED.items():
        why = "{1:.1f} µs against {0:.1f} µs".format(*_medians(results, case, "cpu_us"))
        share = _ratio(results, case, "cpu_us")
        rows.append(at_most(f"CPU a request with two workers, of one's: {words}", share, 1.25, "×",
                            why, 2))  # fmt: skip
    why = "{1:,.0f} against {0:,.0f} a second".format(*_medians(results, "large", "requests_s"))
    more = _ratio(results, "large", "requests_s")
    rows.append(at_least("Requests/s with two workers, of one's: the large model", more, 1.2, "×",
                         why, 2))  # fmt: skip
    why = "every answer was compared with the right one"
    faults = [count_faults(results)]
    return [*rows, at_most("Errors and wrong answers under load", faults, 0, "", why, 0)]


def plot_workers(results: Results, path: Path) -> None:
    """CPU a request and requests a second of every case, with one and with two."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    cpu, speed = figure.subplots(1, 2, sharey=True)
    _draw(cpu, results, "cpu_us", "CPU of the whole process tree a request, µs")
    _draw(speed, results, "requests_s", "requests/s, load generator on the same two cores")
    cpu.set_yticks([index + 0.2 for index in range(len(COMPARED))], [*COMPARED.values()])
    cpu.invert_yaxis()
    speed.legend(frameon=False, fontsize=8)
    save(figure, path)


def _draw(axes: Axes, results: Results, metric: str, title: str) -> None:
    for place, (kind, colour) in enumerate(zip(KINDS, (BASELINE, OURS), strict=True)):
        values = [results.median(f"{case}-{kind}", metric) for case in COMPARED]
        heights = [index + 0.4 * place for index in range(len(values))]
        label = "one process" if kind == "1" else f"{kind} workers"
        bars = axes.barh(heights, values, height=0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.margins(x=0.15)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _medians(results: Results, case: str, metric: str) -> list[float]:
    return [results.median(f"{case}-{kind}", metric) for kind in KINDS]


def _ratio(results: Results, case: str, metric: str) -> Floats:
    one, two = (each(results, f"{case}-{kind}", metric) for kind in KINDS)
    return two / one
