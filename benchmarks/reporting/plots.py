"""The reports' pictures, drawn from result files."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.results import Results

OURS, BASELINE = "#2f6fb0", "#b0b0b0"
BASELINES = ("echo", "echo-json", "no-op-grpc", "lone-echo", "large")


def plot_serving(results: Results, path: Path) -> None:
    """CPU a request of every case; requests/s and p99 of the cascade beside its rivals."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    cpu, speed, tail = figure.subplot_mosaic([["cpu", "speed"], ["cpu", "tail"]]).values()
    loads = [case for case in results.cases() if (case, "cpu_us") in _measured(results)]
    loads = [case for case in loads if not case.startswith("onnx")]
    _draw_bars(cpu, results, loads, "cpu_us", "CPU of the server a request, µs", 1)
    rivals = ("cascade", "cascade-no-rebatch", "large")
    _draw_bars(speed, results, rivals, "requests_s", "requests/s at 64 connections", 0)
    _draw_bars(tail, results, rivals, "p99_ms", "p99 at 64 connections, ms", 1)
    save(figure, path)


def _measured(results: Results) -> set[tuple[str, str]]:
    return {(sample.case, sample.metric) for sample in results.samples}


def _draw_bars(
    axes: Axes, results: Results, cases: Sequence[str], metric: str, title: str, digits: int
) -> None:
    values = [results.median(case, metric) for case in cases]
    colours = [BASELINE if case in BASELINES else OURS for case in cases]
    bars = axes.barh(cases, values, color=colours)
    axes.bar_label(bars, fmt=f"{{:.{digits}f}}", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """As PNG; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
