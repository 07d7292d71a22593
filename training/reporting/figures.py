"""The training reports' figures: which nets complement each other, accuracy against cost, pictures
before and after a conversion.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

SURFACE = "#ffffff"
INK = "#1f2328"
MUTED = "#656d76"
POOL = "#57606a"
FRONT = "#2f6fb5"
CHOSEN = "#c2571a"


@dataclass(frozen=True, slots=True)
class Point:
    """A net or a cascade, with its cost and accuracy."""

    name: str
    us_per_picture: float
    accuracy: float


def draw_complementarity(
    names: Sequence[str], matrix: Sequence[Sequence[float]], path: Path
) -> None:
    """The matrix as shades of one hue, every pair's value in points written into it."""
    with _style():
        figure = Figure(figsize=(6.0, 5.2), facecolor=SURFACE, layout="constrained")
        axes = figure.subplots()
        percent = np.array(matrix) * 100
        shown = np.ma.masked_array(percent, np.eye(len(names), dtype=bool))
        image = axes.imshow(shown, cmap="Blues", vmin=float(shown.min()))
        middle = float(shown.max() + shown.min()) / 2
        for row, column in np.ndindex(*percent.shape):
            if row != column:
                value = float(percent[row, column])
                ink = SURFACE if value > middle else INK
                axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=ink)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_title("Complementarity of the pool, held-out pictures (%)", loc="left")
        figure.colorbar(image, ax=axes, shrink=0.7)
        _save(figure, path)


def draw_costs(
    pool: Sequence[Point],
    front: Sequence[Point],
    chosen: Point,
    oracle_accuracy: float,
    path: Path,
) -> None:
    """Accuracy over measured time: single nets, best cascades, the chosen one and its oracle."""
    oracle = replace(chosen, accuracy=oracle_accuracy)
    with _style():
        figure = Figure(figsize=(7.0, 4.4), facecolor=SURFACE, layout="constrained")
        axes = figure.subplots()
        axes.plot(*_xy(pool), "o-", color=POOL, lw=1, ms=6, label="one net of the pool")
        axes.plot(*_xy(front), "-", color=FRONT, lw=2, label="best cascades (held-out choice)")
        axes.plot(*_xy([chosen]), "D", color=CHOSEN, ms=9, label="the route's cascade")
        axes.plot(*_xy([oracle]), "_", color=CHOSEN, ms=18, mew=2, label="its oracle")
        axes.plot(*_xy([chosen, oracle]), ":", color=CHOSEN, lw=1)
        for point in pool:
            axes.annotate(
                point.name,
                (point.us_per_picture, point.accuracy * 100),
                xytext=(4, -11),
                textcoords="offset points",
                color=MUTED,
                fontsize=8,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(axis="y", color="#d8dee4", lw=0.6)
        axes.set_xlabel("measured time, µs a picture (ONNX Runtime, one thread, batch 32)")
        axes.set_ylabel("accuracy, test pictures (%)")
        axes.legend(frameon=False, loc="lower right")
        _save(figure, path)


def draw_pictures(
    rows: Mapping[str, npt.NDArray[np.generic]], columns: Sequence[str], title: str, path: Path
) -> None:
    """Grey pictures, a row [C, H, W] of each kind, one column a class."""
    with _style():
        height = 0.85 * len(rows) + 0.7
        figure = Figure(figsize=(9.5, height), facecolor=SURFACE, layout="constrained")
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for axes_of_row, (name, pictures) in zip(grid, rows.items(), strict=True):
            for axes, picture in zip(axes_of_row, pictures, strict=True):
                axes.imshow(picture, cmap="gray")
                axes.set_xticks([])
                axes.set_yticks([])
            axes_of_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, column in zip(grid[0], columns, strict=True):
            axes.set_title(column, fontsize=8)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        _save(figure, path)


def _style() -> AbstractContextManager[None]:
    return mpl.rc_context(
        {
            "font.size": 9,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "text.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


def _xy(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    ordered = sorted(points, key=lambda point: point.us_per_picture)
    return [p.us_per_picture for p in ordered], [p.accuracy * 100 for p in ordered]


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
