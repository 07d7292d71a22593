"""Draws which visual tokens the layers of a decoder read, over the pictures of a prompt.

Side by side: a picture, then one tile for each stage, a run of layers that read the same tokens.
What a stage does not read is darkened. Several pictures stand one below the other.

Shapes: L layers, T places in the prompt, P pictures, S side of a picture.
"""

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt

TILE_PX = 192  # side of a tile, at least
GAP_PX = 4
BRIGHTNESS = 0.18  # of what is not read

Pixels = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


def draw_reads(pictures_PSS3: Pixels, reads_LT: Places, visual_tokens: int) -> Pixels | None:
    """uint8 [H, W, 3]; None if there is no picture, or its tokens do not form a square.

    `reads_LT`: by layer the places in the prompt of the visual tokens that it reads, -1 elsewhere.
    """
    side = math.isqrt(visual_tokens)
    total = len(pictures_PSS3) * visual_tokens
    places = reads_LT[0][reads_LT[0] >= 0]  # the first layer reads all of them
    if side * side != visual_tokens or not total or len(places) != total:
        return None
    read_LA = np.stack([np.isin(places, one) for one in reads_LT])  # A: visual tokens
    stages = [
        read_LA[0],
        *(after for before, after in pairwise(read_LA) if (before != after).any()),
    ]
    rows = []
    for number, picture in enumerate(pictures_PSS3):
        scale = -(-TILE_PX // len(picture))
        large = picture.repeat(scale, axis=0).repeat(scale, axis=1)
        own = slice(number * visual_tokens, (number + 1) * visual_tokens)
        tiles = [large, *(_darken(large, one[own].reshape(side, side)) for one in stages[1:])]
        rows.append(_join(tiles, axis=1))
    return _join(rows, axis=0)


def _darken(picture: Pixels, read: npt.NDArray[np.bool_]) -> Pixels:
    rows, columns = (np.arange(size) * len(read) // size for size in picture.shape[:2])
    factor = np.where(read[rows][:, columns], 1.0, BRIGHTNESS)
    return np.asarray(np.round(picture * factor[:, :, None]), np.uint8)


def _join(parts: list[Pixels], axis: int) -> Pixels:
    """Put pictures beside each other, with white between them."""
    shape = list(parts[0].shape)
    shape[axis] = GAP_PX
    gap = np.full(shape, 255, np.uint8)
    with_gaps = [part for one in parts for part in (gap, one)][1:]
    return np.concatenate(with_gaps, axis=axis)
