"""Grids show what they say they show."""

from dataclasses import replace

import numpy as np

from training.data.grids.scenes import (
    CELL_PX,
    CELLS,
    GARMENTS,
    NUMBER,
    RGB,
    SIDE,
    Sources,
    draw_scenes,
)


def test_every_cell_shows_its_kind_and_number(sources: Sources) -> None:
    scenes = draw_scenes(sources, 20, np.random.default_rng(0))
    assert scenes.pictures.shape == (20, 96, 96, 3)
    for index in range(20):
        for cell in range(CELLS):
            row, column = divmod(cell, SIDE)
            shown = scenes.pictures[index, row * CELL_PX :, column * CELL_PX :][:CELL_PX, :CELL_PX]
            kind, number = scenes.kind_BC[index, cell], scenes.number_BC[index, cell]
            brightest = int(shown.max())
            shade = int(RGB[scenes.colour_BC[index, cell]].max())  # of garments and numbers
            if kind < len(GARMENTS):
                assert brightest == (20 * kind + 5) * shade // 255
                assert shown[0].max() == 0  # a margin of 2 pixels
            elif kind < NUMBER:
                assert brightest == 20 * (kind - len(GARMENTS)) + 5
            else:
                left, right = (int(shown[:, part].max()) for part in (slice(16), slice(16, 32)))
                digits = [min(int((20 * digit + 5) * 1.3), 255) for digit in divmod(number, 10)]
                assert [left, right] == [one * shade // 255 for one in digits]


def test_only_garments_and_numbers_have_a_colour(sources: Sources) -> None:
    scenes = draw_scenes(sources, 20, np.random.default_rng(0))
    is_object = (scenes.kind_BC >= len(GARMENTS)) & (scenes.kind_BC < NUMBER)
    assert np.array_equal(scenes.colour_BC == -1, is_object)
    assert np.array_equal(scenes.number_BC >= 0, scenes.kind_BC == NUMBER)


def test_the_same_seed_draws_the_same(sources: Sources) -> None:
    augmented = replace(sources, augmented=True)
    one, other = (draw_scenes(augmented, 3, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one.pictures, other.pictures)
    third = draw_scenes(augmented, 3, np.random.default_rng(6))
    assert not np.array_equal(one.pictures, third.pictures)
