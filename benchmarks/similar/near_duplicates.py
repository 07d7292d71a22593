"""Pictures that look like others, seeded: what happens to a picture on its way to a server.

Eight kinds, from what is invisible (noise, another compression) to what moves every pixel. Grey
pictures [N,H,W]; whose answers they share is left to `benchmarks.similar`.
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from harness.load.traffic import Pictures

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
    def change(pictures: Pictures, rng: np.random.Generator) -> Pictures:
        return _to_bytes(pictures + rng.choice([-levels, levels], (len(pictures), 1, 1)) * 1.0)

    return change


def _compress(quality: int) -> Change:
    def change(pictures: Pictures, rng: np.random.Generator) -> Pictures:
        return np.stack([_as_jpeg(picture, quality) for picture in pictures])

    return change


def _shift(pixels: float) -> Change:
    """Along both axes, to either side; parts of a pixel bilinearly, and black comes in."""

    def change(pictures: Pictures, rng: np.random.Generator) -> Pictures:
        signs = rng.choice([-pixels, pixels], (len(pictures), 2)).tolist()
        return np.stack(
            [
                _move(picture, (1, 0, across, 0, 1, down))
                for picture, (across, down) in zip(pictures, signs, strict=True)
            ]
        )

    return change


def _turn(degrees: float) -> Change:
    def change(pictures: Pictures, rng: np.random.Generator) -> Pictures:
        turned = []
        for picture, angle in zip(
            pictures, rng.choice([-degrees, degrees], len(pictures)), strict=True
        ):
            image = Image.fromarray(picture).rotate(angle, Image.Resampling.BILINEAR)
            turned.append(np.asarray(image))
        return np.stack(turned)

    return change


def _move(picture: Pictures, matrix: tuple[float, ...]) -> Pictures:
    image = Image.fromarray(picture)
    moved = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(moved, np.uint8)


def _as_jpeg(picture: Pictures, quality: int) -> Pictures:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), np.uint8)


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
