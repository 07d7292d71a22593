"""Targets are easy pictures of the class; what cannot be converted is refused in a sentence."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from training.fitting.hardness import entropy_nats, find_easy
from training.fitting.targets import Kind, Targets, choose_targets, find_middles

ROWS, CLASSES = 120, 3
RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (ROWS, 6, 6)).astype(np.uint8)
LABELS = np.arange(ROWS, dtype=np.int64) % CLASSES
EASY = RNG.random(ROWS) < 0.6
NATS = np.where(EASY, RNG.random(ROWS) * 0.4, 0.5 + RNG.random(ROWS))


def choose(kind: Kind, **changes: Any) -> Targets:  # Any: whatever the test changes
    given: dict[str, Any] = {"pictures": PICTURES, "labels": LABELS, "easy": EASY, "nats": NATS}
    given.update(changes)
    return choose_targets(kind, **given, classes=CLASSES, seed=1, groups=3)


@pytest.mark.parametrize("kind", ["random", "prototype", "clusters"])
def test_every_target_is_an_easy_picture_of_the_class(kind: Kind) -> None:
    targets = choose(kind)
    rows = np.arange(ROWS)
    drawn = targets.draw(rows, LABELS, np.random.default_rng(1))
    for label in range(CLASSES):
        easy = {PICTURES[row].tobytes() for row in np.flatnonzero(EASY & (label == LABELS))}
        assert {picture.tobytes() for picture in drawn[label == LABELS]} <= easy


def test_a_random_target_differs_from_epoch_to_epoch_and_follows_from_the_seed() -> None:
    targets, rows = choose("random"), np.arange(ROWS)
    first, again, other = (
        targets.draw(rows, LABELS, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_prototype_is_the_easiest_picture_of_the_class() -> None:
    targets = choose("prototype")
    for label in range(CLASSES):
        rows = np.flatnonzero(EASY & (label == LABELS))
        easiest = PICTURES[rows[NATS[rows].argmin()]]
        assert np.array_equal(targets.pictures[label], easiest)
        assert np.allclose(targets.references[label] * 255, easiest, atol=1e-3)


def test_each_picture_goes_to_the_nearest_middle_of_its_class() -> None:
    targets = choose("clusters")
    assert targets.own is not None
    for row in range(ROWS):
        places = targets.choices[LABELS[row]]
        far = ((targets.pictures[places] / 255.0 - PICTURES[row] / 255.0) ** 2).sum(axis=(1, 2))
        assert targets.own[row] == places[far.argmin()]


def test_k_means_finds_groups_that_are_there() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat([0, 120, 240], 20)
    pictures = (groups[:, None, None] + rng.integers(0, 10, (60, 4, 4))).astype(np.uint8)
    middles = find_middles(pictures, np.arange(60), 3, np.random.default_rng(2))
    assert sorted(groups[middles]) == [0, 120, 240]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"easy": EASY & (LABELS != 1)}, "class 1 has no easy picture to convert to"),
        ({"labels": np.zeros(ROWS, np.int64)}, "all pictures are of class [0], at least 2"),
        ({"pictures": np.zeros((ROWS, 6, 6, 3), np.uint8)}, "takes grey ones, [N, H, W]"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    changes: dict[str, npt.NDArray[np.generic]], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as told:
        choose("clusters", **changes)
    assert "\n" not in str(told.value)


def test_easy_is_sure_and_if_asked_right() -> None:
    logits = np.array([[9.0, 0, 0], [9, 0, 0], [0.1, 0, 0]], np.float32)
    labels = np.array([0, 1, 0])
    nats = entropy_nats(logits)
    assert nats[0] < 0.01 and nats[2] == pytest.approx(np.log(3), abs=0.01)
    assert find_easy(logits, labels, 0.5, must_be_right=False).tolist() == [True, True, False]
    assert find_easy(logits, labels, 0.5, must_be_right=True).tolist() == [True, False, False]
