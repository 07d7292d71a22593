"""The report of early exits on a large net: targets, picture, and where its gain comes from.

Ratios are taken run by run, as all cases answer the same pictures right after one another.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting.plots import BASELINE, OURS, save
from benchmarks.reporting.verdicts import Floats, Row, at_least, at_most, each, median
from benchmarks.serving.judging import count_faults
from harness.results import Results

WHOLE, EXITS, NO_REBATCH = "whole", "exits", "exits-no-rebatch"
WORDS = {
    WHOLE: "the net without exits, batched",
    EXITS: "with two exits, batched again at each",
    NO_REBATCH: "with two exits, alone behind the first",
}
COLUMNS = {
    "accuracy": "accuracy",
    "macs": "MACs/picture",
    "reached_1": "reach stage 1",
    "reached_2": "reach stage 2",
    "reached_3": "reach stage 3",
    "device_us": "device µs/picture",
    "cpu_us": "CPU µs/request",
    "requests_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
}


def judge_exits(results: Results) -> list[Row]:
    """The issue's two numbers; the others are ours."""
    whole, exits = (each(results, case, "requests_s") for case in (WHOLE, EXITS))
    lost = 100 * (results.median(WHOLE, "accuracy") - results.median(EXITS, "accuracy"))
    accuracies = "{:.2%} against {:.2%} on test pictures".format(
        *(results.median(case, "accuracy") for case in (EXITS, WHOLE))
    )
    return [
        at_least("Batched device time of the net without exits", each(results, WHOLE, "device_us"),
                 500, "µs a picture", "inside its stage, by the server's count", 0),
        at_least("Requests/s with two exits, of the same net's without", exits / whole, 1.5, "×",
                 f"{median(exits):,.0f} against {median(whole):,.0f} a second", 2),
        at_most("Accuracy lost by leaving early", [lost], 0.5, "points", accuracies, 2),
        at_most("p99 with two exits, of the same net's without", _ratio(results, "p99_ms"), 1, "×",
                "at 64 connections each", 2),
        at_most("Errors and wrong answers under load", [count_faults(results)], 0, "",
                "every answer was compared with the one given without a server", 0),
    ]  # fmt: skip


def plot_exits(results: Results, path: Path) -> None:
    """Requests a second and device time of the three cases."""
    figure = Figure(figsize=(11, 2.8), layout="constrained")
    speed, device = figure.subplots(1, 2, sharey=True)
    _draw(speed, results, "requests_s", "requests/s at 64 connections")
    _draw(device, results, "device_us", "time inside the stages a picture, µs")
    speed.set_yticks(range(len(WORDS)), list(WORDS.values()))
    speed.invert_yaxis()
    save(figure, path)


def explain_exits(results: Results) -> str:
    """Markdown: how the gain divides between leaving early and batching again."""
    kept = each(results, NO_REBATCH, "requests_s") / each(results, WHOLE, "requests_s")
    gained = each(results, EXITS, "requests_s") / each(results, WHOLE, "requests_s")
    work = results.median(EXITS, "macs") / results.median(WHOLE, "macs")
    shares = [results.median(EXITS, f"reached_{stage}") for stage in (2, 3)]
    return (
        "## Where it comes from\n\n"
        f"Of all pictures {1 - shares[0]:.0%} leave at the first exit and "
        f"{shares[0] - shares[1]:.0%} at the second; a picture costs {work:.0%} of the net's MACs "
        f"on average. That makes {median(gained):.2f} times as many requests a second where rows "
        f"are batched again at every exit, and {median(kept):.2f} times with that switched off: "
        "the first exit still gets full batches, but behind it a row meets none of other requests, "
        "so that here, with one picture a request, it goes on alone. A server that keeps the "
        "rows of a batch together to the end was not measured."
    )


def _ratio(results: Results, metric: str) -> Floats:
    return each(results, EXITS, metric) / each(results, WHOLE, metric)


def _draw(axes: Axes, results: Results, metric: str, title: str) -> None:
    values = [results.median(case, metric) for case in WORDS]
    colours = [BASELINE if case == WHOLE else OURS for case in WORDS]
    bars = axes.barh(range(len(values)), values, color=colours)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.margins(x=0.15)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
