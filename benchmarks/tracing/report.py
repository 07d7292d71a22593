"""The report of what tracing costs: targets and picture.

Ratios and differences are taken run by run, as all kinds get the same load right after one another.
"""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.reporting.plots import BASELINE, OURS, save
from benchmarks.reporting.verdicts import Row, at_most, each
from benchmarks.serving.judging import count_faults
from harness.results import Results

# The share of requests that is followed, as a case's name ends; None: tracing is off.
KINDS: Mapping[str, float | None] = {"off": None, "0.01": 0.01, "1": 1.0}
COMPARED = {
    "hit": "a memory hit, HTTP binary",
    "small-cnn-http": "a small CNN, HTTP binary",
    "small-cnn-grpc": "a small CNN, gRPC",
    "picture": "a small CNN, a PNG over HTTP",
    "cascade": "the Fashion-MNIST cascade, HTTP binary",
}
COLUMNS = {
    "cpu_us": "CPU µs/request",
    "requests_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "ready_s": "ready s",
    "resident_mb": "resident MB",
    "batches": "batches sent",
    "mb": "MB sent",
}
_LABELS = {"off": "tracing off", "0.01": "one request in a hundred", "1": "every request"}
_COLOURS = {"off": BASELINE, "0.01": OURS, "1": "#c44e52"}


def judge_tracing(results: Results) -> list[Row]:
    """What following requests costs, of all requests' CPU; the limits are ours."""
    rows = []
    for case, words in COMPARED.items():
        off, some, every = (each(results, f"{case}-{kind}", "cpu_us") for kind in KINDS)
        why = "{1:.1f} µs against {0:.1f} µs".format(*_medians(results, case))
        rows.append(at_most(f"CPU a request with one in a hundred followed, of tracing off's: "
                            f"{words}", some / off, 1.05, "×", why, 3))  # fmt: skip
        why = "{2:.1f} µs against {0:.1f} µs".format(*_medians(results, case))
        rows.append(at_most(f"More CPU a request where every one is followed: {words}",
                            every - off, 250.0, "µs", why, 0))  # fmt: skip
    faults = [count_faults(results)]
    why = "every answer was compared with the right one"
    return [*rows, at_most("Errors and wrong answers under load", faults, 0, "", why, 0)]


def plot_tracing(results: Results, path: Path) -> None:
    """CPU a request of every case and kind."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, kind in enumerate(KINDS):
        values = [results.median(f"{case}-{kind}", "cpu_us") for case in COMPARED]
        heights = [index + 0.27 * place for index in range(len(values))]
        bars = axes.barh(heights, values, height=0.25, color=_COLOURS[kind], label=_LABELS[kind])
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set_yticks([index + 0.27 for index in range(len(COMPARED))], [*COMPARED.values()])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title("CPU of the server's process a request, µs", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def _medians(results: Results, case: str) -> list[float]:
    return [results.median(f"{case}-{kind}", "cpu_us") for kind in KINDS]
