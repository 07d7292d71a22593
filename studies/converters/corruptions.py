"""Pictures as they should not be: five corruptions at three strengths.

After "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (arXiv
1903.12261), in the few kinds that make sense for grey pictures of 28 pixels. Pure functions of
pictures and a generator.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]
Corruption = Callable[[Pictures, float, np.random.Generator], Pictures]


def add_noise(pictures: Pictures, deviation: float, rng: np.random.Generator) -> Pictures:
    """Gaussian, in grey levels."""
    return _to_bytes(pictures + rng.normal(0, deviation, pictures.shape))


def blur(pictures: Pictures, sigma: float, rng: np.random.Generator) -> Pictures:
    """Gaussian, in pixels; black outside."""
    reach = int(3 * sigma + 0.5)
    places = np.arange(-reach, reach + 1)
    kernel = np.exp(-(places**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    height, width = pictures.shape[1:]
    padded = np.pad(pictures.astype(np.float64), ((0, 0), (reach, reach), (reach, reach)))
    rows = sum(weight * padded[:, at : at + height] for at, weight in enumerate(kernel))
    return _to_bytes(
        np.asarray(sum(weight * rows[:, :, at : at + width] for at, weight in enumerate(kernel)))
    )


def fade(pictures: Pictures, factor: float, rng: np.random.Generator) -> Pictures:
    """Contrast times `factor`, around the picture's own mean."""
    mean = pictures.mean(axis=(1, 2), keepdims=True)
    return _to_bytes(mean + factor * (pictures - mean))


def shift(pictures: Pictures, pixels: float, rng: np.random.Generator) -> Pictures:
    """So many pixels to one of four sides; what is left behind is black."""
    far = int(pixels)
    height, width = pictures.shape[1:]
    padded = np.pad(pictures, ((0, 0), (far, far), (far, far)))
    moved = np.empty_like(pictures)
    for row, side in enumerate(rng.integers(4, size=len(pictures))):
        top, left = ((0, far), (2 * far, far), (far, 0), (far, 2 * far))[side]
        moved[row] = padded[row, top : top + height, left : left + width]
    return moved


def occlude(pictures: Pictures, side: float, rng: np.random.Generator) -> Pictures:
    """A black square somewhere."""
    hidden, edge = pictures.copy(), int(side)
    height, width = pictures.shape[1:]
    tops = rng.integers(0, height - edge + 1, len(pictures))
    lefts = rng.integers(0, width - edge + 1, len(pictures))
    for picture, top, left in zip(hidden, tops, lefts, strict=True):
        picture[top : top + edge, left : left + edge] = 0
    return hidden


CORRUPTIONS: Mapping[str, tuple[Corruption, tuple[float, float, float]]] = {
    "noise": (add_noise, (20, 50, 90)),
    "blur": (blur, (0.8, 1.3, 2.0)),
    "contrast": (fade, (0.5, 0.3, 0.15)),
    "shift": (shift, (2, 4, 6)),
    "occlusion": (occlude, (6, 10, 14)),
}


def corrupt(pictures: Pictures, seed: int) -> dict[str, Pictures]:
    """Every corruption at every strength, as in `noise_1`; the same for the same seed."""
    return {
        f"{name}_{strength}": apply(pictures, amount, np.random.default_rng([seed, strength]))
        for name, (apply, amounts) in CORRUPTIONS.items()
        for strength, amount in enumerate(amounts, 1)
    }


def corrupt_mixed(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """Each picture by one corruption at one strength, both drawn; a sixth stay as they are."""
    mixed = pictures.copy()
    choices = [(apply, amount) for apply, amounts in CORRUPTIONS.values() for amount in amounts]
    drawn = rng.integers(0, len(choices) * 6 // 5, len(pictures))  # the last sixth: none
    for index, (apply, amount) in enumerate(choices):
        rows = np.flatnonzero(drawn == index)
        if len(rows):
            mixed[rows] = apply(pictures[rows], amount, rng)
    return mixed


def _to_bytes(values: npt.NDArray[np.float64]) -> Pictures:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
