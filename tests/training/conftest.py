"""The data set of squares, and nets just wide enough for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.squares import make_squares_data
from training.data.sets import DataSet, Split
from training.nets.pools import Conv, Halve, NetSpec, Pool, Residual, Whiten


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_data() -> DataSet:
    return make_squares_data()


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
