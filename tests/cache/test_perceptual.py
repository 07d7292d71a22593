"""Sketches: the hash is the paper's, flat pictures resemble nothing, and the witness sees more."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from PIL import Image

from cache.perceptual import (
    GRID,
    MAX_DOMINANT_SHARE,
    TRUSTED_LEVELS,
    Bounds,
    find_most_similar,
    hash_pictures,
    make_signatures,
    shrink,
    sketch_pictures,
)

Bytes = npt.NDArray[np.uint8]
SIZES = st.tuples(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70))
SHAPES = st.one_of(SIZES, SIZES.map(lambda size: (*size, 1)), SIZES.map(lambda size: (*size, 3)))
PICTURES = SHAPES.flatmap(lambda shape: stn.arrays(np.uint8, shape))


def draw_scene(seed: int, size: tuple[int, ...] = (28, 28)) -> Bytes:
    """One smooth picture with edges: a sum of waves, as a photograph is."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]] / max(size[:2])
    waves = np.zeros(size[:2])
    for frequency in range(1, 7):
        down, across = rng.normal(0, frequency, 2)
        waves += np.sin(6.3 * (down * rows + across * columns) + rng.uniform(0, 7))
    colour = rng.uniform(15, 20, size[2:] or (1,))
    scene: Bytes = np.clip(128 + waves[..., None] * colour, 0, 255).astype(np.uint8).reshape(size)
    return scene


def sketch(picture: Bytes) -> Any:
    return sketch_pictures(picture[None])[0]


def shrink_slowly(picture: Bytes) -> list[list[float]]:
    """Bilinear between pixel centres, one place after another; in grey."""
    height, width = picture.shape[:2]
    if picture.ndim == 3 and picture.shape[2] == 3:
        grey = np.floor((picture @ np.array([299, 587, 114]) + 500) / 1000)
    else:
        grey = picture.reshape(height, width).astype(float)
    small = []
    for row in range(8):
        y = min(max((row + 0.5) * height / 8 - 0.5, 0), height - 1)
        line = []
        for column in range(9):
            x = min(max((column + 0.5) * width / 9 - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            above = grey[top, left] * (1 - x + left) + grey[top, right] * (x - left)
            below = grey[bottom, left] * (1 - x + left) + grey[bottom, right] * (x - left)
            line.append(above * (1 - y + top) + below * (y - top))
        small.append(line)
    return small


@given(PICTURES)
@settings(max_examples=60, deadline=None)
def test_shrinking_is_bilinear_and_rounds_half_up(pictures: Bytes) -> None:
    slow = np.array([shrink_slowly(picture) for picture in pictures])
    assert np.abs(shrink(pictures) - slow).max() <= 0.5 + 1e-6


@given(PICTURES)
@settings(max_examples=60, deadline=None)
def test_the_hash_has_bit_i_where_the_right_neighbour_is_brighter(pictures: Bytes) -> None:
    for picture, key in zip(pictures, hash_pictures(pictures), strict=True):
        small = shrink(picture[None])[0]
        bits = [small[place // 8, place % 8 + 1] > small[place // 8, place % 8]
                for place in range(64)]  # fmt: skip
        assert int(key) == sum(1 << place for place, bit in enumerate(bits) if bit)


@given(PICTURES)
@settings(max_examples=60, deadline=None)
def test_a_sketch_does_not_depend_on_its_batch(pictures: Bytes) -> None:
    for picture, one in zip(pictures, sketch_pictures(pictures), strict=True):
        alone = sketch(picture)
        assert np.array_equal(alone.signature, one.signature)
        assert alone._replace(signature=one.signature) == one


@given(
    stn.arrays(np.uint8, st.tuples(st.integers(1, 64), st.just(1))),
    st.integers(1, 64),
    st.integers(0, TRUSTED_LEVELS),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_a_picture_that_is_flat_from_left_to_right_resembles_nothing(
    column: Bytes, width: int, noise: int, seed: int
) -> None:
    """The paper's hash gives all of them 0; noise on top of one must not pass for texture."""
    picture = np.repeat(column, width, axis=1)
    assert hash_pictures(picture[None])[0] == 0
    grain = np.random.default_rng(seed).integers(0, noise + 1, picture.shape)
    noisy = np.minimum(picture.astype(int) + grain, 255).astype(np.uint8)
    assert not sketch(noisy).textured


@given(stn.arrays(np.uint8, st.tuples(st.just(1), st.integers(1, 64))), st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_a_picture_that_only_brightens_from_left_to_right_resembles_nothing(
    row: Bytes, height: int
) -> None:
    assert not sketch(np.repeat(np.sort(row, axis=1), height, axis=0)).textured


def test_scenes_are_textured_and_most_of_their_bits_are_sure() -> None:
    for seed in range(50):
        one = sketch(draw_scene(seed))
        assert one.textured
        assert int(one.sure).bit_count() > 32


@pytest.mark.parametrize("size", [(28, 28), (32, 32, 3), (96, 128, 3)])
def test_noise_and_compression_turn_no_sure_bit(size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    for seed in range(30):
        scene = draw_scene(seed, size)
        noisy = np.clip(scene + rng.normal(0, 2, size), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(scene).save(buffer, "JPEG", quality=95, subsampling=0)
        one = sketch(scene)
        for other in (sketch(noisy), sketch(np.asarray(Image.open(buffer)))):
            assert int((one.key ^ other.key) & one.sure & other.sure).bit_count() <= 1
            assert find_most_similar(other.signature, one.signature[None], Bounds()) == 0


def test_a_small_picture_is_its_own_signature() -> None:
    pictures = np.stack([draw_scene(seed, (GRID, GRID, 3)) for seed in range(3)])
    assert np.array_equal(make_signatures(pictures), pictures.reshape(3, 1, -1))


@given(st.integers(GRID + 1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_larger_ones_signature_is_mean_and_deviation_of_every_block(
    height: int, width: int, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    means, deviations = [], []
    blocks = min(height, GRID), min(width, GRID)
    for y in range(blocks[0]):
        for x in range(blocks[1]):
            block = picture[
                y * height // blocks[0] : (y + 1) * height // blocks[0],
                x * width // blocks[1] : (x + 1) * width // blocks[1],
            ].reshape(-1, 3)
            means.append(block.mean(axis=0))
            deviations.append(block.std(axis=0))
    slow = np.stack([np.ravel(means), np.ravel(deviations)])
    assert np.abs(make_signatures(picture[None])[0] - slow).max() <= 0.5 + 1e-3


def test_a_pattern_that_cancels_in_its_blocks_is_seen_by_their_deviation() -> None:
    scene = draw_scene(1, (96, 96)) // 2 + 60
    checks = np.where(np.indices((96, 96)).sum(axis=0) % 2, 25, -25)
    patterned = (scene + checks).astype(np.uint8)
    bounds = Bounds(difference=8.0)
    assert (
        find_most_similar(sketch(patterned).signature, sketch(scene).signature[None], bounds)
        is None
    )


def test_the_most_alike_within_the_bounds_is_found() -> None:
    base = np.full((1, 100), 100, np.uint8)
    others = np.stack([base + 5, base + 2, base + 3, base + 90])
    assert find_most_similar(base, others, Bounds(difference=4.0)) == 1
    assert find_most_similar(base, others, Bounds(difference=2.0)) == 1
    assert find_most_similar(base, others, Bounds(difference=1.9)) is None


def test_one_place_that_differs_much_is_enough_to_refuse() -> None:
    bounds = Bounds(difference=4.0)
    base = np.full((1, 1000), 100, np.uint8)
    marked = base.copy()
    marked[0, 7] += int(MAX_DOMINANT_SHARE * bounds.difference)
    assert find_most_similar(base, marked[None], bounds) == 0
    marked[0, 7] += 1  # on average they still hardly differ
    assert find_most_similar(base, marked[None], bounds) is None


def test_two_scenes_do_not_resemble_each_other() -> None:
    sketches = sketch_pictures(np.stack([draw_scene(seed) for seed in range(60)]))
    for place, one in enumerate(sketches):
        others = np.stack([other.signature for other in sketches[:place] + sketches[place + 1 :]])
        assert find_most_similar(one.signature, others, Bounds()) is None
