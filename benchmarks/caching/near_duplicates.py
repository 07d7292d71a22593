"""Pictures that look like others, seeded: what happens to a picture on its way to a server.

Eight kinds, from what is invisible (noise, another compression) to what moves every pixel. Grey
pictures [N,H,W]; whose answers they share is left to `benchmarks.similar`.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from harness.load.traffic import Pictures

T = TypeVar("T")
BILINEAR = Image.Resampling.BILINEAR
Change = Callable[[Pictures, np.random.Generator], Pictures]


def make_mixed(pictures: Pictures, seed: int) -> Pictures:
    """One near-duplicate of each picture, of a kind that is drawn for each."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(len(KINDS), size=len(pictures))
    mixed = pictures.copy()
    for number, change in enumerate(KINDS.values()):
        rows = kinds == number
        if rows.any():
            mixed[rows] = change(pictures[rows], rng)
    return mixed


def make_kind(kind: str, pictures: Pictures, seed: int) -> Pictures:
    """One near-duplicate of each picture."""
    return KINDS[kind](pictures, np.random.default_rng(seed))


def _noise(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    return _to_bytes(pictures + rng.normal(0, 2, pictures.shape))


def _brighten(levels: int) -> Change:
    return lambda pictures, rng: _to_bytes(
        pictures + rng.choice([-levels, levels], (len(pictures), 1, 1)) * 1.0
    )


def _compress(quality: int) -> Change:
    def save(image: Image.Image, _: None) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return lambda pictures, rng: _change_each(pictures, [None] * len(pictures), save)


def _shift(pixels: float) -> Change:
    """Along both axes, to either side; parts of a pixel bilinearly, and black comes in."""

    def move(image: Image.Image, by: tuple[float, float]) -> Image.Image:
        matrix = (1, 0, by[0], 0, 1, by[1])
        return image.transform(image.size, Image.Transform.AFFINE, matrix, BILINEAR)

    return lambda pictures, rng: _change_each(
        pictures, rng.choice([-pixels, pixels], (len(pictures), 2)).tolist(), move
    )


def _turn(degrees: float) -> Change:
    return lambda pictures, rng: _change_each(
        pictures,
        rng.choice([-degrees, degrees], len(pictures)).tolist(),
        lambda image, angle: image.rotate(angle, BILINEAR),
    )


def _change_each(
    pictures: Pictures, how: Sequence[T], change: Callable[[Image.Image, T], Image.Image]
) -> Pictures:
    images = (change(Image.fromarray(one), by) for one, by in zip(pictures, how, strict=True))
    return np.stack([np.asarray(image, np.uint8) for image in images])


def _to_bytes(values: npt.NDArray[np.float64]) -> Pictures:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


KINDS: Mapping[str, Change] = {
    "noise of 2 levels": _noise,
    "3 levels brighter or darker": _brighten(3),
    "10 levels brighter or darker": _brighten(10),
    "JPEG at quality 90": _compress(90),
    "JPEG at quality 75": _compress(75),
    "shifted by 0.1 pixel": _shift(0.1),
    "shifted by 1 pixel": _shift(1.0),
    "turned by 1 degree": _turn(1.0),
}
