"""Questions about a grid and their answers, in words of a closed vocabulary, by family.

Some questions of the families `same` and `count` are never trained on (`held_out`), so that a
model can be asked what it has not been asked before.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.grids.scenes import CELLS, COLOURS, KINDS, NUMBER, OBJECTS, SIDE, Scenes
from training.data.grids.scenes import GARMENTS as GARMENTS

ROWS = ("1", "2", "3")
WORDS = (
    *(str(digit) for digit in range(10)),
    *KINDS,
    *COLOURS,
    "yes", "no", "what", "which", "is", "in", "row", "column", "colour", "how", "many", "cells",
    "show", "are", "the", "same", "as", "where", "list", "everything", "colours", "none", "?",
)  # fmt: skip
HELD_OUT_ONE_IN = 6
COMPOSED = frozenset({"same", "count"})


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one grid, and its one right answer."""

    family: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Scene:
    """One grid's content, row by row."""

    kinds: npt.NDArray[np.int64]
    colours: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]


Ask = Callable[[Scene, np.random.Generator], Question | None]


def scene_at(scenes: Scenes, index: int) -> Scene:
    """What one of the grids shows."""
    return Scene(scenes.kind_BC[index], scenes.colour_BC[index], scenes.number_BC[index])


def held_out(question: Question) -> bool:
    """Whether this question is kept from training."""
    if question.family not in COMPOSED:
        return False
    return zlib.crc32(question.text.encode()) % HELD_OUT_ONE_IN == 0


def ask(family: str, scene: Scene, rng: np.random.Generator, unseen: bool) -> Question:
    """A question of this family, or of `garment` or `colour` where the grid allows none.

    With `unseen` also a question that is kept from training.
    """
    for name in (*[family] * 8, "colour", "garment", "list"):
        question = FAMILIES[name](scene, rng)
        if question is not None and (unseen or not held_out(question)):
            return question
    raise AssertionError("every grid can be listed")


def place_name(cell: int) -> str:
    """Where a cell is, in words."""
    return f"row {ROWS[cell // SIDE]} column {ROWS[cell % SIDE]}"


def _garment(scene: Scene, rng: np.random.Generator) -> Question | None:
    return _name(scene, rng, "garment", scene.kinds < len(GARMENTS))


def _object(scene: Scene, rng: np.random.Generator) -> Question | None:
    is_object = (scene.kinds >= len(GARMENTS)) & (scene.kinds < NUMBER)
    return _name(scene, rng, "object", is_object)


def _name(
    scene: Scene, rng: np.random.Generator, family: str, among: npt.NDArray[np.bool_]
) -> Question | None:
    cell = _pick(among, rng)
    if cell is None:
        return None
    return Question(family, f"what is in {place_name(cell)} ?", KINDS[scene.kinds[cell]])


def _colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    cell = _pick(scene.colours >= 0, rng)
    if cell is None:
        return None
    return Question("colour", f"which colour is {place_name(cell)} ?", COLOURS[scene.colours[cell]])


def _digits(scene: Scene, rng: np.random.Generator) -> Question | None:
    cell = _pick(scene.numbers >= 0, rng)
    if cell is None:
        return None
    number = int(scene.numbers[cell])
    return Question(
        "digits", f"which number is in {place_name(cell)} ?", f"{number // 10} {number % 10}"
    )


def _count(scene: Scene, rng: np.random.Generator) -> Question:
    """Of a colour or of a kind, half of the time one that is there most."""
    values, names = (
        (scene.colours, COLOURS) if rng.random() < 0.5 else (scene.kinds, (*GARMENTS, *OBJECTS))
    )
    counts = np.bincount(values[values >= 0], minlength=len(KINDS))[: len(names)]
    wanted = int(counts.argmax() if rng.random() < 0.5 else rng.integers(0, len(names)))
    verb = "are" if names is COLOURS else "show"
    return Question("count", f"how many cells {verb} {names[wanted]} ?", str(counts[wanted]))


def _same(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether two cells show the same kind; yes as often as no where the grid has both."""
    wanted = rng.random() < 0.5
    equal = scene.kinds[:, None] == scene.kinds
    pairs = np.flatnonzero((equal if wanted else ~equal) & ~np.eye(CELLS, dtype=bool))
    if not len(pairs):
        return None
    one, other = divmod(int(rng.choice(pairs)), CELLS)
    text = f"is {place_name(one)} the same as {place_name(other)} ?"
    return Question("same", text, "yes" if wanted else "no")


def _where(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Where the only cell of a kind is."""
    counts = np.bincount(scene.kinds, minlength=len(KINDS))
    cell = _pick(counts[scene.kinds] == 1, rng)
    if cell is None:
        return None
    return Question("where", f"where is the {KINDS[scene.kinds[cell]]} ?", place_name(cell))


def _row(scene: Scene, rng: np.random.Generator) -> Question:
    row = int(rng.integers(0, SIDE))
    cells = range(row * SIDE, (row + 1) * SIDE)
    if rng.random() < 0.5:
        return Question("row", f"list row {ROWS[row]}", _kinds(scene, cells))
    return Question("row", f"list the colours in row {ROWS[row]}", _colours(scene, cells))


def _list(scene: Scene, rng: np.random.Generator) -> Question:
    if rng.random() < 0.5:
        return Question("list", "list everything", _kinds(scene, range(CELLS)))
    return Question("list", "list the colours", _colours(scene, range(CELLS)))


def _kinds(scene: Scene, cells: range) -> str:
    return " ".join(KINDS[scene.kinds[cell]] for cell in cells)


def _colours(scene: Scene, cells: range) -> str:
    found = [int(scene.colours[cell]) for cell in cells]
    return " ".join("none" if one < 0 else COLOURS[one] for one in found)


def _pick(among: npt.NDArray[np.bool_], rng: np.random.Generator) -> int | None:
    cells = np.flatnonzero(among)
    return int(cells[rng.integers(0, len(cells))]) if len(cells) else None


FAMILIES: Mapping[str, Ask] = {
    "garment": _garment,
    "object": _object,
    "colour": _colour,
    "digits": _digits,
    "count": _count,
    "same": _same,
    "where": _where,
    "row": _row,
    "list": _list,
}
