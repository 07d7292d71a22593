"""The report of gathering survivors: targets and picture. Ratios are taken run by run."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting.plots import BASELINE, OURS, save
from benchmarks.reporting.verdicts import Floats, Row, at_most, each, median
from benchmarks.serving.judging import count_faults
from harness.results import Results

KINDS = ("gathered", "at once")
ROUTES = ("fashion-mnist-cbnet", "fashion-mnist", "fashion-mnist-exits")
SHAPES = ("bulk", "many")
COLUMNS = {
    "survivors_a_batch": "rows a batch behind the first stage",
    "device_us": "device µs/picture",
    "cpu_us": "CPU µs/picture",
    "pictures_s": "pictures/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
}


def name_case(route: str, shape: str, kind: str) -> str:
    return f"{route}, {shape}, {kind}"


def judge_gathering(results: Results) -> list[Row]:
    """Gathering must be worth its rule where it matters, and harm nobody."""
    rows = []
    for route in ROUTES:
        for shape in SHAPES:
            limit = 0.9 if (route, shape) == (ROUTES[0], SHAPES[0]) else 1.05
            cpu = _ratio(results, route, shape, "cpu_us")
            rows.append(at_most(
                f"{route}, {shape}: CPU a picture, of what it is at once", cpu, limit, "×",
                f"batches behind the first stage {_says_batches(results, route, shape)}; p99 "
                f"{median(_ratio(results, route, shape, 'p99_ms')):.2f} ×", 2,
            ))  # fmt: skip
    rows.append(at_most("Errors and wrong answers under load", [count_faults(results)], 0, "",
                        "every answer was compared with the replay's", 0))  # fmt: skip
    return rows


def plot_gathering(results: Results, path: Path) -> None:
    """CPU a picture and survivors a batch, by route and load."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    cpu, batches = figure.subplots(1, 2, sharey=True)
    _draw(cpu, results, "cpu_us", "CPU of the whole server a picture, µs")
    _draw(batches, results, "survivors_a_batch", "rows a batch behind the first stage")
    cpu.invert_yaxis()
    batches.legend(frameon=False, fontsize=8)
    save(figure, path)


def _ratio(results: Results, route: str, shape: str, metric: str) -> Floats:
    ours, theirs = (each(results, name_case(route, shape, kind), metric) for kind in KINDS)
    return ours / theirs


def _says_batches(results: Results, route: str, shape: str) -> str:
    ours, theirs = (
        results.median(name_case(route, shape, kind), "survivors_a_batch") for kind in KINDS
    )
    return f"{ours:.1f} instead of {theirs:.1f} rows"


def _draw(axes: Axes, results: Results, metric: str, title: str) -> None:
    places = [(route, shape) for route in ROUTES for shape in SHAPES]
    for index, (kind, colour) in enumerate(zip(KINDS, (OURS, BASELINE), strict=True)):
        values = [results.median(name_case(*place, kind), metric) for place in places]
        bars = axes.barh([row + 0.38 * index for row in range(len(places))], values, 0.36,
                         color=colour, label=kind)  # fmt: skip
        axes.bar_label(bars, fmt="{:,.1f}", padding=3, fontsize=8)
    axes.set_yticks([row + 0.19 for row in range(len(places))],
                    [f"{route}, {shape}" for route, shape in places], fontsize=8)  # fmt: skip
    axes.margins(x=0.15)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
