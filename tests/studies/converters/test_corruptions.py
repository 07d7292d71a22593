"""Corruptions do what they are called, the stronger the more, and the same for the same seed."""

import numpy as np
import pytest

from studies.converters.corruptions import (
    CORRUPTIONS,
    Pictures,
    blur,
    corrupt,
    corrupt_mixed,
    fade,
    occlude,
    shift,
)

RNG = np.random.default_rng(0)
PICTURES = (RNG.integers(0, 2, (40, 28, 28)) * 255).astype(np.uint8)


def distance(one: Pictures, two: Pictures) -> float:
    return float(np.abs(one.astype(float) - two.astype(float)).mean())


def test_the_stronger_a_corruption_the_farther_from_the_picture() -> None:
    corrupted = corrupt(PICTURES, seed=3)
    assert len(corrupted) == 15
    for kind in set(CORRUPTIONS) - {"shift"}:  # noise that is shifted is all other noise
        away = [distance(corrupted[f"{kind}_{strength}"], PICTURES) for strength in (1, 2, 3)]
        assert 0 < away[0] < away[1] < away[2], kind
    for pictures in corrupted.values():
        assert pictures.shape == PICTURES.shape
        assert pictures.dtype == PICTURES.dtype


def test_the_same_seed_gives_the_same_pictures() -> None:
    one, two, other = corrupt(PICTURES, 3), corrupt(PICTURES, 3), corrupt(PICTURES, 4)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["noise_1"], other["noise_1"])


def test_a_shift_moves_every_pixel_as_far_and_leaves_black_behind() -> None:
    sides = set()
    for before, after in zip(PICTURES, shift(PICTURES, 3, np.random.default_rng(1)), strict=True):
        moved = {
            "down": (before[:-3], after[3:], after[:3]),
            "up": (before[3:], after[:-3], after[-3:]),
            "right": (before[:, :-3], after[:, 3:], after[:, :3]),
            "left": (before[:, 3:], after[:, :-3], after[:, -3:]),
        }
        (side,) = [name for name, (a, b, _) in moved.items() if np.array_equal(a, b)]
        assert not moved[side][2].any()
        sides.add(side)
    assert sides == {"down", "up", "left", "right"}


def test_an_occlusion_is_one_black_square_of_that_side() -> None:
    white = np.full((20, 28, 28), 255, np.uint8)
    hidden = occlude(white, 6, np.random.default_rng(2)) == 0
    assert (hidden.sum(axis=(1, 2)) == 36).all()
    assert (hidden.any(axis=1).sum(axis=1) == 6).all()


def test_contrast_fades_towards_the_mean_and_blur_keeps_it() -> None:
    rng = np.random.default_rng(0)
    faded = fade(PICTURES, 0.3, rng)
    assert np.allclose(faded.mean(axis=(1, 2)), PICTURES.mean(axis=(1, 2)), atol=0.6)
    assert faded.std() == pytest.approx(0.3 * PICTURES.std(), rel=0.05)
    grey = np.full((1, 28, 28), 90, np.uint8)
    assert (blur(grey, 1.0, rng)[0, 6:-6, 6:-6] == 90).all()


def test_a_mix_leaves_about_a_sixth_as_they_are_and_corrupts_the_others() -> None:
    many = np.tile(PICTURES, (30, 1, 1))
    mixed = corrupt_mixed(many, np.random.default_rng(5))
    same = (mixed == many).all(axis=(1, 2)).mean()
    assert 0.12 < same < 0.22
