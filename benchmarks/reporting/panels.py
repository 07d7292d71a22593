"""The reports' plots: panels of bars or curves, given as numbers, drawn side by side."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

GREY, BLUE, GREEN, ORANGE, DARK = COLOURS = (
    "#b0b0b0", "#2f6fb0", "#1a7f37", "#c2571a", "#57606a",
)  # fmt: skip
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars: a row a label, in it a bar a series."""

    title: str
    labels: Sequence[str]
    series: Mapping[str, Sequence[float]]
    digits: int = 0
    grey: Collection[str] = ()  # labels of baselines, where there is one series

    @property
    def rows(self) -> int:
        return len(self.labels) * (1 + len(self.series))

    def draw(self, axes: Axes) -> None:
        height = 0.8 / len(self.series)
        for place, ((name, values), colour) in enumerate(
            zip(self.series.items(), COLOURS, strict=False)
        ):
            colours = colour if len(self.series) > 1 else self._colour_labels()
            heights = [index + place * height for index in range(len(values))]
            bars = axes.barh(heights, values, height * 0.92, color=colours, label=name)
            axes.bar_label(bars, fmt=f"{{:,.{self.digits}f}}", padding=3, fontsize=8)
        middle = 0.4 - height / 2
        axes.set_yticks([index + middle for index in range(len(self.labels))], self.labels)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        if len(self.series) > 1:
            _place_legend(axes, -0.06)

    def _colour_labels(self) -> list[str]:
        return [GREY if label in self.grey else BLUE for label in self.labels]


@dataclass(frozen=True, slots=True)
class Curves:
    """Lines through points, a series each; or single points, each with its name beside it."""

    title: str
    x: str
    y: str
    series: Mapping[str, Points]
    log: str = ""  # the axes that are logarithmic, as "x", "y" or "xy"
    named: bool = False
    marked: Collection[str] = ()  # names in another colour

    rows = 16

    def draw(self, axes: Axes) -> None:
        axes.set(xlabel=self.x, ylabel=self.y)
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            if name in self.log:
                axes.set(**{f"{name}scale": "log"})
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
                axis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.2, y=0.15)
        axes.grid(alpha=0.3)
        for index, (name, points) in enumerate(self.series.items()):
            colour = COLOURS[index % len(COLOURS)] if not self.named else self._colour(name)
            axes.plot(*zip(*points, strict=True), "o" if self.named else "o-", color=colour,
                      label=name, markersize=5)  # fmt: skip
        if not self.named:
            _place_legend(axes, -0.14)

    def _colour(self, name: str) -> str:
        return ORANGE if name in self.marked else BLUE

    def name_points(self, axes: Axes) -> None:
        """Each beside its point, where no point or name is. The layout must be fixed."""
        taken = [_box(axes, point) for points in self.series.values() for point in points]
        for name, ((x, y), *_) in self.series.items():
            text = axes.annotate(name, (x, y), textcoords="offset points", xytext=(0, 0),
                                 fontsize=8, color=self._colour(name))  # fmt: skip
            point, size = _box(axes, (x, y)), text.get_window_extent()
            places = [
                Bbox.from_bounds(left, (point.y0 + point.y1) / 2 + lines * size.height,
                                 size.width, size.height)
                for lines in (-0.9, 0.1, -2, 1.2, -3.1, 2.3)
                for left in (point.x1 + 1, point.x0 - 1 - size.width)
            ]  # fmt: skip
            box = min(places, key=lambda place: place.count_overlaps(taken))
            points_a_pixel = 72 / axes.figure.dpi
            text.set_position(((box.x0 - (point.x0 + point.x1) / 2) * points_a_pixel,
                               (box.y0 - (point.y0 + point.y1) / 2) * points_a_pixel))  # fmt: skip
            taken.append(box)


def _place_legend(axes: Axes, y: float) -> None:
    """Below the panel."""
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.45, y))


def _box(axes: Axes, point: tuple[float, float]) -> Bbox:
    x, y = axes.transData.transform(point)
    return Bbox.from_bounds(x - 5, y - 5, 10, 10)


Panel = Bars | Curves


def draw(panels: Sequence[Panel], path: Path) -> None:
    """As PNG; the same panels give the same bytes."""
    columns = len(panels) if len(panels) in (1, 3) else 2
    lines = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [1.2 + 0.14 * max(panel.rows for panel in line) for line in lines]
    figure = Figure(figsize=(4 + 4 * columns, sum(heights)), layout="constrained")
    grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    pairs = list(zip(panels, grid.flat, strict=False))
    for panel, axes in pairs:
        panel.draw(axes)
        axes.set_title(panel.title, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_axis_off()
    figure.draw_without_rendering()
    for panel, axes in pairs:
        if isinstance(panel, Curves) and panel.named:
            panel.name_points(axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
