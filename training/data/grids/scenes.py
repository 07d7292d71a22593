"""Grids of three by three cells, drawn from three data sets.

A cell shows a garment (Fashion-MNIST) or a number of two digits (MNIST), each in one colour, or an
object in its own colours (CIFAR-10). Every grid has a favourite kind and a favourite colour, so
that counts spread widely. Pictures are put together anew for every batch; those to judge a model
by come from held-out or test pictures.

Shapes: B grids, C = 9 cells row by row, S = 32 pixels a cell.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.augment import augment
from training.data.sets import DataSet, Split, load_data

SIDE, CELL_PX = 3, 32
CELLS = SIDE * SIDE
SIZE_PX = SIDE * CELL_PX
GARMENTS = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip
OBJECTS = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
KINDS = (*GARMENTS, *OBJECTS, "number")
NUMBER = KINDS.index("number")
COLOURS = ("white", "red", "green", "blue", "yellow", "purple")
RGB = np.array(
    [(255, 255, 255), (255, 70, 60), (70, 220, 80), (80, 110, 255), (240, 220, 50), (200, 80, 230)]
)
SHARES = (0.6, 0.15, 0.25)  # of cells: garments, objects, numbers

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


class Pool:
    """Pictures of ten classes, from which one of a wanted class is drawn."""

    def __init__(self, split: Split) -> None:
        self.pictures = split.pictures
        self._order = np.argsort(split.labels, kind="stable")
        self._starts = np.searchsorted(split.labels[self._order], np.arange(11))

    def draw(self, labels: Ints, rng: np.random.Generator) -> Bytes:
        """A random picture of each of these classes."""
        starts = self._starts[labels]
        sizes = self._starts[labels + 1] - starts
        rows = self._order[starts + (rng.random(len(labels)) * sizes).astype(np.int64)]
        chosen: Bytes = self.pictures[rows]
        return chosen


@dataclass(frozen=True, slots=True)
class Sources:
    """One part (train, held-out or test) of the three data sets, and whose they are."""

    garments: Pool
    objects: Pool
    digits: Pool
    identity: str
    augmented: bool  # shift and mirror what is pasted


@dataclass(frozen=True, slots=True)
class Scenes:
    """Grids and what is in them."""

    pictures: Bytes  # [B, 96, 96, 3]
    kind_BC: Ints  # index in KINDS
    colour_BC: Ints  # index in COLOURS, -1 for objects
    number_BC: Ints  # 0 to 99, -1 where there is no number


def load_sources() -> tuple[Sources, Sources, Sources]:
    """To train on, held out from training, and to test on. Raises ValueError as `load_data`."""
    sets = [load_data(name) for name in ("fashion-mnist", "cifar10", "mnist")]
    train = _gather(sets, "train", augmented=True)
    return train, _gather(sets, "held_out"), _gather(sets, "test")


def _gather(sets: list[DataSet], part: str, augmented: bool = False) -> Sources:
    garments, objects, digits = (Pool(getattr(one, part)) for one in sets)
    identity = "+".join(one.identity[:16] for one in sets)
    return Sources(garments, objects, digits, identity, augmented)


def draw_scenes(sources: Sources, count: int, rng: np.random.Generator) -> Scenes:
    """Grids of random content."""
    kind_BC = _draw_kinds(count, rng)
    favourite_B1 = rng.integers(0, len(COLOURS), (count, 1))
    favoured_BC = rng.random((count, CELLS)) < rng.random((count, 1)) * 0.6
    colour_BC = np.where(favoured_BC, favourite_B1, rng.integers(0, len(COLOURS), kind_BC.shape))
    is_object_BC = (kind_BC >= len(GARMENTS)) & (kind_BC < NUMBER)
    colour_BC[is_object_BC] = -1
    number_BC = np.where(kind_BC == NUMBER, rng.integers(0, 100, kind_BC.shape), -1)
    cells = np.zeros((count * CELLS, CELL_PX, CELL_PX, 3), np.uint8)
    kinds, colours, numbers = kind_BC.ravel(), colour_BC.ravel(), number_BC.ravel()
    garments = np.flatnonzero(kinds < len(GARMENTS))
    cells[garments] = _paint(_draw_garments(sources, kinds[garments], rng), colours[garments])
    objects = np.flatnonzero(is_object_BC.ravel())
    cells[objects] = _draw_objects(sources, kinds[objects] - len(GARMENTS), rng)
    written = np.flatnonzero(kinds == NUMBER)
    cells[written] = _paint(_draw_numbers(sources, numbers[written], rng), colours[written])
    grid = cells.reshape(count, SIDE, SIDE, CELL_PX, CELL_PX, 3).transpose(0, 1, 3, 2, 4, 5)
    pictures = np.ascontiguousarray(grid).reshape(count, SIZE_PX, SIZE_PX, 3)
    return Scenes(pictures, kind_BC, colour_BC, number_BC)


def _draw_kinds(count: int, rng: np.random.Generator) -> Ints:
    group_BC = rng.choice(3, (count, CELLS), p=SHARES)
    favourite_B1 = rng.integers(0, len(GARMENTS), (count, 1))
    favoured_BC = rng.random((count, CELLS)) < rng.random((count, 1)) * 0.7
    garment_BC = np.where(favoured_BC, favourite_B1, rng.integers(0, len(GARMENTS), group_BC.shape))
    object_BC = len(GARMENTS) + rng.integers(0, len(OBJECTS), group_BC.shape)
    return np.choose(group_BC, [garment_BC, object_BC, NUMBER]).astype(np.int64)


def _draw_garments(sources: Sources, labels: Ints, rng: np.random.Generator) -> Bytes:
    """Grey cells [N, S, S] of these classes."""
    chosen = sources.garments.draw(labels, rng)
    padded = np.pad(chosen, ((0, 0), (2, 2), (2, 2)))
    return augment(padded, rng, erase=False, shift_px=2) if sources.augmented else padded


def _draw_objects(sources: Sources, labels: Ints, rng: np.random.Generator) -> Bytes:
    """Colour cells [N, S, S, 3] of these classes."""
    chosen = sources.objects.draw(labels, rng)
    return augment(chosen, rng, erase=False, shift_px=2) if sources.augmented else chosen


def _draw_numbers(sources: Sources, numbers: Ints, rng: np.random.Generator) -> Bytes:
    """Grey cells [N, S, S]: two digits at half their size, side by side."""
    cells = np.zeros((len(numbers), CELL_PX, CELL_PX), np.uint8)
    down = rng.integers(0, CELL_PX - 14 + 1, len(numbers))
    for place, digits in enumerate((numbers // 10, numbers % 10)):
        chosen = sources.digits.draw(digits, rng)
        halved = chosen.reshape(-1, 14, 2, 14, 2).astype(np.float32).mean(axis=(2, 4))
        bright = np.minimum(halved * 1.3, 255.0).astype(np.uint8)  # averaging thins the strokes
        rows = down[:, None, None] + np.arange(14)[:, None]
        columns = 2 + 14 * place + np.arange(14)
        cells[np.arange(len(numbers))[:, None, None], rows, columns] = bright
    return cells


def _paint(grey: Bytes, colours: Ints) -> Bytes:
    painted = grey[..., None].astype(np.uint16) * RGB[colours][:, None, None].astype(np.uint16)
    painted //= 255
    return painted.astype(np.uint8)
