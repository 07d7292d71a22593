"""The comparison's picture: accuracy against CPU, and how confident each is of nonsense."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.compare_robust_tables import list_strangers, mean_share
from benchmarks.compare_scores import find_front, stand
from benchmarks.contestants import CONVERTERS
from benchmarks.plots import BASELINE, OURS, save
from benchmarks.results import Results

CONVERTING = "#c2571a"


def plot_compare(results: Results, path: Path) -> None:
    figure = Figure(figsize=(12, 5), layout="constrained")
    front, strange = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_front(front, results)
    _draw_strangers(strange, results)
    save(figure, path)


def _draw_front(axes: Axes, results: Results) -> None:
    standings = stand(results)
    best = find_front(standings)
    axes.step([one.cost_us for one in best], [one.accuracy for one in best], where="post",
              color=BASELINE, linewidth=1, zorder=0)  # fmt: skip
    for place, (name, one) in enumerate(
        sorted(standings.items(), key=lambda item: item[1].cost_us)
    ):
        colour = CONVERTING if name in CONVERTERS else OURS
        axes.errorbar(one.cost_us, one.accuracy, yerr=one.margin or 0.0, fmt="o", color=colour,
                      capsize=3, markersize=6)  # fmt: skip
        axes.annotate(name, (one.cost_us, one.accuracy), textcoords="offset points",
                      xytext=(6, (-11, 5)[place % 2]), fontsize=8, color=colour)  # fmt: skip
    axes.set(xscale="log", xlabel="CPU of the whole server, µs a picture, 32 pictures a request",
             ylabel="test accuracy, %")  # fmt: skip
    axes.set_title("accuracy against CPU; bars: 95 % over seeds; orange: converters", fontsize=10)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15, y=0.1)
    axes.grid(alpha=0.3)


def _draw_strangers(axes: Axes, results: Results) -> None:
    names = list(stand(results))
    strangers = list_strangers(results)
    height = 0.8 / max(len(strangers), 1)
    for place, (stranger, colour) in enumerate(
        zip(strangers, (OURS, "#57606a", "#1a7f37"), strict=False)
    ):
        shares = [100 * mean_share(results, name, f"strange_{stranger}") for name in names]
        heights = [index + place * height for index in range(len(names))]
        axes.barh(heights, shares, height * 0.9, color=colour, label=stranger)
    axes.set_yticks([index + 0.4 - height / 2 for index in range(len(names))], names, fontsize=8)
    axes.invert_yaxis()
    axes.set_title("strangers answered with confidence ≥ 0.9, %", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
