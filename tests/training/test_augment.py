"""Augmentation keeps what a picture is."""

import numpy as np

from training.augment import augment


def test_shifts_and_mirrors_keep_a_small_square_whole() -> None:
    pictures = np.zeros((64, 28, 28), np.uint8)
    pictures[:, 10:14, 10:14] = 200
    changed = augment(pictures, np.random.default_rng(0), erase=False)
    assert (changed.sum(axis=(1, 2)) == pictures[0].sum()).all()
    assert len(np.unique(changed.reshape(64, -1), axis=0)) > 10


def test_erasing_changes_about_half_of_the_pictures_and_not_its_input() -> None:
    pictures = np.zeros((200, 28, 28), np.uint8)
    changed = augment(pictures, np.random.default_rng(0), erase=True)
    assert 60 < changed.any(axis=(1, 2)).sum() < 140
    assert not pictures.any()
