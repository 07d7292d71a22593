"""A stage's largest batch: a power of two that a deadline can wait for."""

import pytest

from training.export.cost import MAX_BATCH_US, batch_limit


@pytest.mark.parametrize(
    ("us_per_picture", "rows"), [(1.0, 64), (125.0, 64), (126.0, 32), (379.0, 16), (1e6, 1)]
)
def test_the_limit_keeps_a_batch_short(us_per_picture: float, rows: int) -> None:
    assert batch_limit(us_per_picture) == rows
    assert rows == 1 or rows * us_per_picture <= MAX_BATCH_US
