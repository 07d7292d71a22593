"""The comparison's picture: accuracy against CPU, and how confident each is of nonsense."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from benchmarks.compare.measuring.contestants import CONVERTERS
from benchmarks.compare.robust_tables import list_strangers, mean_share
from benchmarks.compare.scores import Standing, find_front, stand
from benchmarks.reporting.plots import BASELINE, OURS, save
from harness.results import Results

CONVERTING = "#c2571a"
RADIUS = 5  # of a point, in pixels
# Of a name: which of its ends is at the point, and how many lines higher it stands; the first place
# that is free is taken.
PLACES = tuple(
    (end, lines) for lines in (-0.9, 0.1, -2, 1.2, -3.1, 2.3) for end in ("left", "right")
)


def plot_compare(results: Results, path: Path) -> None:
    figure = Figure(figsize=(12, 5), layout="constrained")
    front, strange = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_front(front, results)
    _draw_strangers(strange, results)
    figure.draw_without_rendering()
    name_points(front, list(stand(results).values()))
    save(figure, path)


def _draw_front(axes: Axes, results: Results) -> None:
    standings = stand(results)
    best = find_front(standings)
    axes.step([one.cost_us for one in best], [one.accuracy for one in best], where="post",
              color=BASELINE, linewidth=1, zorder=0)  # fmt: skip
    for one in standings.values():
        axes.errorbar(one.cost_us, one.accuracy, yerr=one.margin or 0.0, fmt="o",
                      color=_find_colour(one.name), capsize=3, markersize=6)  # fmt: skip
    axes.set(xscale="log", xlabel="CPU of the whole server, µs a picture, 32 pictures a request",
             ylabel="test accuracy, %")  # fmt: skip
    axes.set_title("accuracy against CPU; bars: 95 % over seeds; orange: converters", fontsize=10)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.2, y=0.1)
    axes.grid(alpha=0.3)


def name_points(axes: Axes, standings: Sequence[Standing]) -> None:
    """Each beside its point, where no point, bar or name is. The layout must be fixed."""
    points, bars = [], []
    for one in standings:
        x, y = axes.transData.transform((one.cost_us, one.accuracy))
        _, top = axes.transData.transform((one.cost_us, one.accuracy + (one.margin or 0.0)))
        points.append(Bbox.from_bounds(x - RADIUS, y - RADIUS, 2 * RADIUS, 2 * RADIUS))
        bars.append(Bbox.from_bounds(x - 1, 2 * y - top, 2, 2 * (top - y)))
    taken, points_a_pixel = [*points, *bars], 72 / axes.figure.dpi
    for one, point in zip(standings, points, strict=True):
        text = axes.annotate(one.name, (one.cost_us, one.accuracy), textcoords="offset points",
                             xytext=(0, 0), fontsize=8, color=_find_colour(one.name))  # fmt: skip
        size = text.get_window_extent()
        boxes = [_place(point, size, end, lines) for end, lines in PLACES]
        box = min(boxes, key=lambda box: box.count_overlaps(taken))
        x, y = box.x0 - point.x0 - RADIUS, box.y0 - point.y0 - RADIUS
        text.set_position((x * points_a_pixel, y * points_a_pixel))
        taken.append(box)


def _place(point: Bbox, size: Bbox, end: str, lines: float) -> Bbox:
    """Where a text of that size lies beside a point."""
    x = point.x1 + 1 if end == "left" else point.x0 - 1 - size.width
    return Bbox.from_bounds(
        x, (point.y0 + point.y1) / 2 + lines * size.height, size.width, size.height
    )


def _find_colour(name: str) -> str:
    return CONVERTING if name in CONVERTERS else OURS


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
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.06))
    axes.spines[["top", "right"]].set_visible(False)
