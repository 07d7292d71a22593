"""The picture of an explanation darkens what a stage does not read."""

import numpy as np

from tokens.vision_language.serving.drawing import GAP_PX, TILE_PX, draw_reads

GREY = np.full((1, 16, 16, 3), 200, np.uint8)
PLACES = np.arange(1, 5)  # four visual tokens behind the beginning


def reads(*layers: list[int]) -> np.ndarray:
    """By layer, which of the four visual tokens it reads; a word follows them."""
    rows = [[*[place for place in PLACES if place - 1 in kept]] for kept in layers]
    return np.array([row + [-1] * (6 - len(row)) for row in rows])


def test_each_stage_has_a_tile_with_its_tokens() -> None:
    found = draw_reads(GREY, reads([0, 1, 2, 3], [0, 1, 2, 3], [0, 3], [3], [3]), 4)
    assert found is not None
    scale = -(-TILE_PX // 16)
    side = 16 * scale
    assert found.shape == (side, 3 * side + 2 * GAP_PX, 3)
    tiles = [found[:, start : start + side] for start in range(0, 3 * side, side + GAP_PX)]
    quarter = side // 2
    bright = [
        [
            bool((tile[row : row + quarter, column : column + quarter] == 200).all())
            for row in (0, quarter)
            for column in (0, quarter)
        ]
        for tile in tiles
    ]
    assert bright == [[True] * 4, [True, False, False, True], [False, False, False, True]]


def test_several_pictures_stand_below_each_other() -> None:
    pictures = np.concatenate([GREY, GREY])
    places = np.array([[1, 2, 3, 4, 5, 6, 7, 8, -1], [1, 8, -1, -1, -1, -1, -1, -1, -1]])
    found = draw_reads(pictures, places, 4)
    assert found is not None
    side = 16 * -(-TILE_PX // 16)
    assert found.shape == (2 * side + GAP_PX, 2 * side + GAP_PX, 3)


def test_a_prompt_without_pictures_has_no_drawing() -> None:
    assert draw_reads(GREY[:0], np.full((3, 4), -1), 4) is None
