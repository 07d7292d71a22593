"""Light augmentation of batches of pictures: shifts, mirror images, erased rectangles.

Grey pictures are [B, H, W], colour ones [B, H, W, C]. What a shift uncovers is black in grey
pictures, whose background is black, and mirrored in colour ones.
"""

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]


def augment(
    pictures: Pictures,
    rng: np.random.Generator,
    *,
    erase: bool,
    mirror: bool = True,
    shift_px: int = 2,
) -> Pictures:
    """Shift by up to `shift_px`, mirror half of the pictures, erase in half."""
    shifted = _shift(pictures, rng, shift_px)
    if mirror:
        mirrored = rng.random(len(shifted)) < 0.5
        shifted[mirrored] = shifted[mirrored, :, ::-1]
    return _erase(shifted, rng) if erase else shifted


def _shift(pictures: Pictures, rng: np.random.Generator, shift_px: int) -> Pictures:
    count, height, width = pictures.shape[:3]
    around = ((0, 0), (shift_px, shift_px), (shift_px, shift_px))
    if pictures.ndim == 3:
        padded = np.pad(pictures, around)
    else:
        padded = np.pad(pictures, (*around, (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    down, right = rng.integers(0, 2 * shift_px + 1, size=(2, count))
    shifted: Pictures = windows[np.arange(count), down, right]  # [B, H, W], or [B, C, H, W]
    if pictures.ndim == 4:
        shifted = shifted.transpose(0, 2, 3, 1)
    own: Pictures = shifted.copy()
    return own


def _erase(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """A random rectangle becomes noise, in half of the pictures (Zhong, arXiv 1708.04896)."""
    count, height, width = pictures.shape[:3]
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
    if pictures.ndim == 4:
        mask = mask[..., None]
    noise = rng.integers(0, 256, pictures.shape, dtype=np.uint8)
    return np.where(mask, noise, pictures)
