"""Augmentation keeps what a picture is."""

import numpy as np

from training.data.augment import augment


def test_shifts_and_mirrors_keep_a_small_square_whole() -> None:
    pictures = np.zeros((64, 28, 28), np.uint8)
    pictures[:, 10:14, 10:14] = 200
    changed = augment(pictures, np.random.default_rng(0), erase=False)
    assert (changed.sum(axis=(1, 2)) == pictures[0].sum()).all()
    assert len(np.unique(changed.reshape(64, -1), axis=0)) > 10


def test_what_a_mirror_would_change_is_only_shifted_when_asked() -> None:
    pictures = np.zeros((64, 28, 28), np.uint8)
    pictures[:, 10:14, 10] = 200
    pictures[:, 10, 11:14] = 100  # a corner: its mirror image is another picture
    changed = augment(pictures, np.random.default_rng(0), erase=False, mirror=False)
    top, left = (changed == 200).any(axis=2).argmax(axis=1), (changed == 200).any(1).argmax(1)
    moved = [changed[i, top[i] : top[i] + 4, left[i] : left[i] + 4] for i in range(64)]
    assert (np.array(moved) == pictures[0, 10:14, 10:14]).all()


def test_erasing_changes_about_half_of_the_pictures_and_not_its_input() -> None:
    pictures = np.zeros((200, 28, 28), np.uint8)
    changed = augment(pictures, np.random.default_rng(0), erase=True)
    assert 60 < changed.any(axis=(1, 2)).sum() < 140
    assert not pictures.any()


def test_colour_pictures_keep_their_shape_and_their_pixels_colours() -> None:
    pictures = np.zeros((64, 32, 32, 3), np.uint8)
    pictures[:, 10:14, 10:14] = (200, 100, 50)
    changed = augment(pictures, np.random.default_rng(0), erase=False)
    assert changed.shape == pictures.shape
    assert np.array_equal(changed.sum(axis=(1, 2)), pictures.sum(axis=(1, 2)))
    colours = np.unique(changed.reshape(-1, 3), axis=0)
    assert colours.tolist() == [[0, 0, 0], [200, 100, 50]]


def test_a_colour_picture_has_no_black_border_after_a_shift() -> None:
    pictures = np.full((64, 32, 32, 3), 90, np.uint8)
    assert (augment(pictures, np.random.default_rng(0), erase=False) == 90).all()
