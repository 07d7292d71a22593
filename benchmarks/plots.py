"""The reports' pictures, drawn from result files."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.cases import CASCADE, LARGE
from benchmarks.results import Results

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
    _save(figure, path)


def plot_dual_cnn(results: Results, path: Path) -> None:
    """Accuracy against MACs and against device time."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    measures = (("macs", 1e6, "mean MMACs a picture"), ("device_us_batch_32", 1, "mean device µs"))
    for axes, (metric, scale, label) in zip(panels, measures, strict=True):
        for case in results.cases():
            x, y = results.median(case, metric) / scale, results.median(case, "accuracy") * 100
            colour = OURS if case in (CASCADE, LARGE) else BASELINE
            axes.plot(x, y, "*" if case == CASCADE else "o", color=colour, markersize=10)
            place = (-70, 8) if case == LARGE else (6, -12)  # it is one of the pool's nets, too
            axes.annotate(case, (x, y), textcoords="offset points", xytext=place, fontsize=8)
        axes.set(xscale="log", xlabel=label, ylabel="test accuracy, %")
        axes.margins(x=0.2, y=0.15)
        axes.grid(alpha=0.3)
    _save(figure, path)


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


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
