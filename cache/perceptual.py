"""Perceptual hashing of pictures: the 64-bit dHash, its reliable bits, and a second signature.

The dHash is the one of the dual-CNN paper's code: grey, bilinear to 9x8, a bit for each pixel whose
right neighbour is brighter, row by row, bit i = 2^i. Grey is (299 R + 587 G + 114 B) / 1000, and
the resize interpolates between the pixels next to each centre without smoothing; both round half
up, in whole numbers, so that every machine and every batch gets the same bits.

The hash alone is not a key: every picture without horizontal structure has hash 0, and where
adjacent pixels are nearly equal, noise decides. So a sketch also has the bits that are `sure`,
whether there are enough of them (`textured`), and a `signature` of all pixels that is independent
of the hash. `cache.perceptual_cache` stores sketches and answers.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]  # [N,H,W], or [N,H,W,C] with one channel or three
Floats = npt.NDArray[np.float32]
Int32s = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]
Hashes = npt.NDArray[np.uint64]

TRUSTED_LEVELS = 4  # pixels that differ by more keep their order under noise and JPEG
MIN_EDGES = 4  # sure bits a picture must have in either direction to be compared at all
GRID = 32  # blocks of the signature per side; smaller pictures are their own signature
MAX_DOMINANT_SHARE = 12  # one place may differ by this many times what all may on average
_ROWS, _COLUMNS = 8, 9


class Sketch(NamedTuple):
    """One picture's hash, and the data to judge whether it is reliable."""

    key: np.uint64  # the dHash
    sure: np.uint64  # the bits that noise does not flip
    textured: bool  # enough sure bits both ways; a flat picture resembles nothing
    level: float  # the signature's mean
    signature: npt.NDArray[np.uint8]  # [parts, values]: block means, then block deviations if any
    shape: tuple[int, ...]  # sketches of other shapes cannot be compared


class Bounds(NamedTuple):
    """How similar two pictures must be to share an answer."""

    distance: int = 1  # sure bits in which their hashes may differ
    difference: float = 4.0  # root mean square of their signatures' differences, in grey levels


def sketch_pictures(pictures: Pictures) -> list[Sketch]:
    """Make a sketch of each picture, in order."""
    steps = _brightness_gradients(pictures)
    rises, falls = pack_bits(steps > TRUSTED_LEVELS), pack_bits(steps < -TRUSTED_LEVELS)
    textured = np.minimum(np.bitwise_count(rises), np.bitwise_count(falls)) >= MIN_EDGES
    signatures = make_signatures(pictures)
    levels = signatures[:, 0].mean(axis=1)
    shape = pictures.shape[1:]
    return [
        Sketch(key, sure, enough, level, signature, shape)
        for key, sure, enough, level, signature in zip(
            pack_bits(steps > 0),
            rises | falls,
            textured.tolist(),
            levels.tolist(),
            signatures,
            strict=True,
        )
    ]


def hash_pictures(pictures: Pictures) -> Hashes:
    """Compute only the paper's 64-bit dHash of each picture."""
    return pack_bits(_brightness_gradients(pictures) > 0)


def shrink(pictures: Pictures) -> Int32s:
    """In grey, bilinear to [N,8,9]: between the two times two pixels around each centre."""
    height, width = pictures.shape[1:3]
    places, weights = _make_taps(height, width)
    corners = _to_grey(pictures[:, *places]).reshape(-1, _ROWS, 2, _COLUMNS, 2)
    scale = 4 * _ROWS * _COLUMNS
    small: Int32s = ((corners * weights).sum(axis=(2, 4)) + scale // 2) // scale
    return small


def make_signatures(pictures: Pictures) -> npt.NDArray[np.uint8]:
    """[N, parts, values]: all pixels of a small picture; of a larger one the mean and the standard
    deviation of every block of a grid, so that what cancels in a block's mean is still seen.
    """
    count, height, width = pictures.shape[:3]
    if height <= GRID and width <= GRID:
        return pictures.reshape(count, 1, -1)
    planes = pictures.reshape(count, height, width, -1).astype(np.float32)
    sizes = _count_block(height)[:, None, None] * _count_block(width)[:, None]
    means = _sum_blocks(planes) / sizes
    squares = _sum_blocks(np.square(planes)) / sizes
    deviations = np.sqrt(np.maximum(squares - np.square(means), 0))
    parts = np.stack([means, deviations], axis=1).reshape(count, 2, -1)
    signatures: Pictures = np.rint(parts).astype(np.uint8)
    return signatures


def find_most_similar(
    signature: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8], bounds: Bounds
) -> int | None:
    """Return the index of the most similar signature; None if none is within the bounds."""
    squares = np.square(others.astype(np.float32) - signature)
    means = squares.mean(axis=2).max(axis=1)
    limit = bounds.difference**2
    means[squares.max(axis=(1, 2)) > MAX_DOMINANT_SHARE**2 * limit] = np.inf
    best = int(means.argmin())
    return best if means[best] <= limit else None


def pack_bits(bits: npt.NDArray[np.bool_]) -> Hashes:
    """Pack booleans [N,64] into one number per row, bit i = 2^i."""
    packed = np.packbits(bits, axis=1, bitorder="little")
    hashes: Hashes = np.ascontiguousarray(packed).view("<u8")[:, 0]
    return hashes


def _brightness_gradients(pictures: Pictures) -> Int32s:
    """Return [N,64]: how much brighter each pixel's right neighbour is, row by row."""
    small = shrink(pictures)
    return (small[:, :, 1:] - small[:, :, :-1]).reshape(len(pictures), -1)


def _to_grey(pictures: Pictures) -> Int32s:
    """Whole numbers without a dimension of channels."""
    if pictures.ndim == 3:
        return pictures.astype(np.int32)
    if pictures.shape[3] == 1:
        return pictures[..., 0].astype(np.int32)
    red, green, blue = np.moveaxis(pictures, 3, 0).astype(np.int32)
    grey: Int32s = (299 * red + 587 * green + 114 * blue + 500) // 1000
    return grey


@lru_cache(maxsize=64)
def _make_taps(height: int, width: int) -> tuple[tuple[Indices, Indices], Int32s]:
    """Where the pixels of all corners are, and their weights [8,2,9,2], as whole numbers."""
    rows, down = _find_taps(height, _ROWS)
    columns, across = _find_taps(width, _COLUMNS)
    return (rows[:, None], columns), (down[:, :, None, None] * across).astype(np.int32)


def _find_taps(size: int, places: int) -> tuple[Indices, Int32s]:
    """The two pixels around each centre, edges repeated; their weights, which sum to 2 `places`."""
    whole = 2 * places
    centres = np.clip((2 * np.arange(places) + 1) * size - places, 0, whole * (size - 1))
    first, rest = np.divmod(centres, whole)
    pixels = np.stack([first, np.minimum(first + 1, size - 1)], axis=1).ravel()
    return pixels, np.stack([whole - rest, rest], axis=1).astype(np.int32)


def _sum_blocks(planes: Floats) -> Floats:
    """[N,H,W,C] summed over the blocks of the grid."""
    height, width = planes.shape[1:3]
    rows = np.add.reduceat(planes, _find_edges(height), axis=1)
    blocks: Floats = np.add.reduceat(rows, _find_edges(width), axis=2)
    return blocks


def _count_block(size: int) -> Int32s:
    """How many pixels each block has along one side."""
    return np.diff(_find_edges(size), append=size).astype(np.int32)


def _find_edges(size: int) -> Indices:
    blocks = min(size, GRID)
    return np.arange(blocks) * size // blocks
