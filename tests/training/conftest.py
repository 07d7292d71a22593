"""A made-up data set of bright squares whose place is their class, and nets just wide enough."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.data.sets import DataSet, Source, Split
from training.nets.pools import Conv, Halve, NetSpec, Pool, Residual, Whiten


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_data() -> DataSet:
    rng = np.random.default_rng(0)
    source = Source(url="", sha256={}, labels=("a", "b", "c", "d"), mean=(0.3,), std=(0.3,))
    return DataSet(
        name="squares",
        source=source,
        train=_squares(rng, 768),
        held_out=_squares(rng, 200),
        test=_squares(rng, 200),
        identity="0" * 64,
    )


@pytest.fixture(scope="session")
def colour_data(tiny_data: DataSet) -> DataSet:
    """The same squares, each colour channel a shade of its own."""

    def paint(split: Split) -> Split:
        shades = np.array([255, 180, 90]) / 255
        return Split((split.pictures[..., None] * shades).astype(np.uint8), split.labels)

    return replace(
        tiny_data,
        source=replace(tiny_data.source, mean=(0.3, 0.2, 0.1), std=(0.3, 0.2, 0.1)),
        train=paint(tiny_data.train),
        held_out=paint(tiny_data.held_out),
        test=paint(tiny_data.test),
    )


@pytest.fixture(scope="session")
def colour_spec() -> NetSpec:
    """The layers that only colour nets have."""
    layers = (Whiten(), Conv(8), Halve(), Conv(8), Residual(), Pool("maxima"))
    return NetSpec("tiny-colour", layers, 2, erase=True, label_smoothing=0.1)


@pytest.fixture(scope="session")
def tiny_pool() -> tuple[NetSpec, ...]:
    """Every kind of layer, from small to big."""
    return (
        NetSpec("tiny-1", (Conv(4, 4),), 1, erase=False),
        NetSpec("tiny-2", (Conv(4, 2), Conv(8, 2)), 2, erase=False),
        NetSpec("tiny-3", (Conv(8, 2), Residual(), Conv(16, 2), Pool()), 2, erase=True),
    )


def _squares(rng: np.random.Generator, rows: int) -> Split:
    """Noise with a brighter square in one of four corners; the fainter, the harder."""
    labels = rng.integers(0, 4, rows)
    pictures = rng.integers(0, 120, (rows, 28, 28))
    for picture, label, light in zip(pictures, labels, rng.integers(5, 130, rows), strict=True):
        top, left = 3 + 13 * (label // 2), 3 + 13 * (label % 2)
        picture[top : top + 9, left : left + 9] += light
    return Split(pictures.astype(np.uint8), labels.astype(np.int64))
