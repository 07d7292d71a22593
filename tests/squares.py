"""A made-up data set of bright squares whose place is their class."""

import numpy as np

from training.data.sets import DataSet, Source, Split


def make_squares_data() -> DataSet:
    """768 pictures to train on, 200 held out and 200 to test on."""
    rng = np.random.default_rng(0)
    source = Source(url="", sha256={}, labels=("a", "b", "c", "d"), mean=(0.3,), std=(0.3,))
    return DataSet(
        name="squares",
        source=source,
        train=make_squares(rng, 768),
        held_out=make_squares(rng, 200),
        test=make_squares(rng, 200),
        identity="0" * 64,
    )


def make_squares(rng: np.random.Generator, rows: int) -> Split:
    """Noise with a brighter square in one of four corners; the fainter, the harder."""
    labels = rng.integers(0, 4, rows)
    pictures = rng.integers(0, 120, (rows, 28, 28))
    for picture, label, light in zip(pictures, labels, rng.integers(5, 130, rows), strict=True):
        top, left = 3 + 13 * (label // 2), 3 + 13 * (label % 2)
        picture[top : top + 9, left : left + 9] += light
    return Split(pictures.astype(np.uint8), labels.astype(np.int64))
