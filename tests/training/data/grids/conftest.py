"""Small sources whose pictures say their class: every pixel of class c is 20 c + 5."""

import numpy as np
import pytest

from training.data.grids.scenes import Pool, Sources
from training.data.sets import Split


def plain(size_px: int, *, colour: bool) -> Pool:
    labels = np.repeat(np.arange(10), 3)
    shape = (30, size_px, size_px, 3) if colour else (30, size_px, size_px)
    values = (20 * labels + 5).astype(np.uint8)
    return Pool(Split(np.broadcast_to(values.reshape(-1, *[1] * (len(shape) - 1)), shape), labels))


@pytest.fixture(scope="session")
def sources() -> Sources:
    return Sources(
        plain(28, colour=False), plain(32, colour=True), plain(28, colour=False), "plain", False
    )
