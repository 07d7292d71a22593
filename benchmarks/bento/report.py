"""The report of BentoML as a host: what it costs beside `sparing serve`, and its picture.

Ratios are taken run by run, as both hosts get the same load right after one another.
"""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.reporting.plots import BASELINE, OURS, save
from benchmarks.reporting.verdicts import Row, at_most, each
from benchmarks.serving.judging import count_faults
from harness.results import Results

HOSTS = ("sparing", "bento")  # as a case's name ends
COMPARED = {
    "hit": "a memory hit, HTTP binary",
    "hit-json": "a memory hit, HTTP JSON",
    "small-cnn-http": "a small CNN, HTTP binary",
    "picture": "a small CNN, a PNG over HTTP",
    "lone-http": "a lone request, HTTP binary",
    "small-cnn-grpc": "a small CNN, gRPC",
}
COLUMNS = {
    "cpu_us": "CPU µs/request",
    "requests_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "ready_s": "ready s",
    "resident_mb": "resident MB",
}
LIMIT = 1.6


def judge_bento(results: Results) -> list[Row]:
    """BentoML's CPU a request over our own host's, for every kind of request."""
    rows = []
    for case, words in COMPARED.items():
        ours, bento = (each(results, f"{case}-{host}", "cpu_us") for host in HOSTS)
        medians = [results.median(f"{case}-{host}", "cpu_us") for host in reversed(HOSTS)]
        why = f"{medians[0]:.1f} µs against {medians[1]:.1f} µs"
        rows.append(
            at_most(f"CPU a request, of `sparing serve`'s: {words}", bento / ours, LIMIT, "×", why,
                    2)
        )  # fmt: skip
    faults = [count_faults(results)]
    why = "every answer was compared with the right one"
    return [*rows, at_most("Errors and wrong answers under load", faults, 0, "", why, 0)]


def plot_bento(results: Results, path: Path) -> None:
    """CPU a request of every case on both hosts."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, (host, colour) in enumerate(zip(HOSTS, (BASELINE, OURS), strict=True)):
        values = [results.median(f"{case}-{host}", "cpu_us") for case in COMPARED]
        heights = [index + 0.4 * place for index in range(len(values))]
        label = "sparing serve" if host == "sparing" else "bentoml serve"
        bars = axes.barh(heights, values, height=0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="{:.0f}", padding=3, fontsize=8)
    axes.set_yticks([index + 0.2 for index in range(len(COMPARED))], [*COMPARED.values()])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title("CPU of the whole process tree a request, µs", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)
