"""Schedules of equal cost, and what a model answers under each."""

from dataclasses import replace

import numpy as np
import pytest

from tokens.pyramid_drop.schedule import pyramid
from tokens.vision_language.model import Dropping
from tokens.vision_language.vision import vision_macs
from training.data.grids.scenes import Pool, Sources
from training.data.sets import Split
from training.vision_language.learning import build_model, standard_spec
from training.vision_language.operating_points import comparators, draw_questions, measure

TINY = replace(
    standard_spec(), channels=(4, 8, 8), width=16, layers=4, heads=2, key_heads=1, hidden=16
)


def noise(*shape: int) -> Pool:
    rng = np.random.default_rng(0)
    return Pool(Split(rng.integers(0, 256, (20, *shape), dtype=np.uint8), np.arange(20) % 10))


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(noise(28, 28), noise(32, 32, 3), noise(28, 28), "noise", False)


@pytest.mark.parametrize("average", [67.5, 36])
def test_comparators_read_as_many_tokens(average: float) -> None:
    spec = standard_spec()
    found = comparators(spec, [[1, 3, 5]], average)
    assert set(found) > {"pyramid, last", "fastv", "once, random", "pyramid, uniform"}
    for name, how in found.items():
        read = how.schedule.average(spec.visual_tokens, spec.layers)
        assert read == pytest.approx(average, abs=1), name


def test_an_average_out_of_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="visual tokens on average"):
        comparators(standard_spec(), [[1, 3, 5]], 10)


def test_questions_are_of_the_wanted_families(sources: Sources) -> None:
    asked = draw_questions(sources, ["digits", "where", "object"], 3, seed=1)
    assert [one.family for one in asked.questions] == ["digits", "where", "object"] * 3
    assert len(asked.pictures) == 9


def test_points_have_accuracy_agreement_and_cost(sources: Sources) -> None:
    model = build_model(TINY, 1).eval()
    asked = draw_questions(sources, ["digits", "where"], 2, seed=1)
    settings = {
        "one": Dropping(pyramid(4, ratio=1.0)),
        "half": Dropping(pyramid(4, ratio=0.5)),
    }
    full, one, half = measure(model, asked, settings)
    assert full.agreement == one.agreement == 1.0
    assert full.macs == one.macs > half.macs > vision_macs(96, TINY.channels, TINY.width)
    assert full.average_tokens == 144
    assert half.average_tokens == 67.5
    assert full.right_Q.shape == half.same_Q.shape == (4,)
    assert half.agreement == half.same_Q.mean()
    assert set(half.right) == {"digits", "where"}


def test_the_vision_parts_macs_are_those_of_its_layers() -> None:
    stem = 16**2 * 27 * 2 + 8**2 * 18 * 4 + 4**2 * 36 * 8
    assert vision_macs(32, (2, 4, 8), 10) == stem + 16 * (8 * 10 + 10 * 10)
