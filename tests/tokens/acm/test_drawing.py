"""The heat map shows which tokens ran how many learners, in tiles side by side."""

import numpy as np
import pytest

from tokens.acm.drawing import COLOURS, OPACITY, TILE_PX, draw_learners
from tokens.acm.macs import ModuleCost, NetCost

SIDE, BLOCKS = 4, 2
COST = NetCost(0, SIDE**2, tuple(ModuleCost(1, macs, 4) for macs in (1, 3, 1, 3)))


def make_choices() -> np.ndarray:
    """All learners for the first token and none elsewhere; in the second block none at all."""
    learners = np.zeros((SIDE**2, 4), np.int64)
    learners[0, :2] = 4
    return learners


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_the_tiles_are_the_picture_the_mean_and_each_block(shape: tuple[int, ...]) -> None:
    picture = np.full(shape, 100, np.uint8)
    drawn = draw_learners(picture, make_choices(), COST, BLOCKS)
    assert drawn is not None
    assert drawn.shape == (TILE_PX, (2 + BLOCKS) * TILE_PX, 3)
    tiles = np.split(drawn, 2 + BLOCKS, axis=1)
    assert (tiles[0] == 100).all()
    corner, token = (0, 0), TILE_PX // SIDE
    none, half, every = (
        np.round(OPACITY * COLOURS[place] + (1 - OPACITY) * 100) for place in (0, 2, 4)
    )
    np.testing.assert_array_equal([tile[corner] for tile in tiles[1:]], [half, every, none])
    for tile in tiles[1:]:
        assert (tile[:, token:] == none).all()
        assert (tile[:token, :token] == tile[corner]).all()


def test_tokens_that_form_no_square_are_not_drawn() -> None:
    assert draw_learners(np.zeros((8, 8), np.uint8), np.zeros((15, 4), np.int64), COST, 2) is None


def test_a_class_token_is_left_out() -> None:
    picture, learners = np.full((8, 8), 100, np.uint8), make_choices()
    with_class = np.concatenate([np.full((1, 4), 4), learners])
    drawn, expected = (draw_learners(picture, one, COST, BLOCKS) for one in (with_class, learners))
    assert drawn is not None
    np.testing.assert_array_equal(drawn, expected)
