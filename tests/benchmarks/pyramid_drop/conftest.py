"""Pictures of noise, to ask questions about."""

import numpy as np
import pytest

from training.data.grids.scenes import Pool, Sources
from training.data.sets import Split


def _noise(*shape: int) -> Pool:
    rng = np.random.default_rng(0)
    return Pool(Split(rng.integers(0, 256, (20, *shape), dtype=np.uint8), np.arange(20) % 10))


@pytest.fixture(scope="session")
def sources() -> Sources:
    return Sources(_noise(28, 28), _noise(32, 32, 3), _noise(28, 28), "noise", False)
