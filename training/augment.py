"""Light augmentation of batches of grey pictures: shifts, mirror images, erased rectangles."""

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]


def augment(
    pictures_BHW: Pictures, rng: np.random.Generator, *, erase: bool, shift_px: int = 2
) -> Pictures:
    """Shift by up to `shift_px` (zero padding), mirror half of the pictures, erase in half."""
    shifted = _shift(pictures_BHW, rng, shift_px)
    mirrored = rng.random(len(shifted)) < 0.5
    shifted[mirrored] = shifted[mirrored, :, ::-1]
    return _erase(shifted, rng) if erase else shifted


def _shift(pictures_BHW: Pictures, rng: np.random.Generator, shift_px: int) -> Pictures:
    count, height, width = pictures_BHW.shape
    padded = np.pad(pictures_BHW, ((0, 0), (shift_px, shift_px), (shift_px, shift_px)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    down, right = rng.integers(0, 2 * shift_px + 1, size=(2, count))
    shifted: Pictures = windows[np.arange(count), down, right].copy()
    return shifted


def _erase(pictures_BHW: Pictures, rng: np.random.Generator) -> Pictures:
    """A random rectangle becomes noise, in half of the pictures (Zhong, arXiv 1708.04896)."""
    count, height, width = pictures_BHW.shape
    area = rng.uniform(0.02, 0.3, count) * height * width
    aspect = np.exp(rng.uniform(np.log(0.4), np.log(2.5), count))
    tall = np.minimum(np.sqrt(area * aspect), height - 1).astype(int)
    wide = np.minimum(np.sqrt(area / aspect), width - 1).astype(int)
    top = (rng.random(count) * (height - tall)).astype(int)
    left = (rng.random(count) * (width - wide)).astype(int)
    rows, columns = np.arange(height), np.arange(width)
    in_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    in_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    chosen = np.less(rng.random(count), 0.5)
    mask = in_rows[:, :, None] & in_columns[:, None, :] & chosen[:, None, None]
    noise = rng.integers(0, 256, pictures_BHW.shape, dtype=np.uint8)
    return np.where(mask, noise, pictures_BHW)
