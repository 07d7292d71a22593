"""Right answers by family, paired with the model without drops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from benchmarks.pyramid_drop import quality, trainings
from benchmarks.pyramid_drop.names import (
    BLIND,
    BUDGETS,
    COMMONEST,
    FAMILIES,
    FULL,
    PLAIN,
    PYRAMID,
    TRAINED,
    TRAINED_DROPPING,
    asked_as,
    setting,
    trained,
)
from benchmarks.pyramid_drop.quality import (
    ask_all,
    compare,
    compare_points,
    judge_blind,
    judge_commonest,
)
from training.data.grids.scenes import Sources
from training.vision_language.learning import build_model, standard_spec
from training.vision_language.operating_points import draw_questions

TINY = replace(
    standard_spec(), channels=(4, 8, 8), width=16, layers=8, heads=2, key_heads=1, hidden=16
)


def test_points_below_are_paired() -> None:
    full = np.array([True, True, True, False])
    less = np.array([True, False, False, False])
    below, margin = compare(less, full)
    assert below == 50
    assert margin == pytest.approx(1.96 * 57.735 / 2, rel=1e-3)
    assert compare(full, full) == (0, 0)


def test_the_commonest_answer_is_that_of_the_same_question(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "COUNTED", 40)
    asked = draw_questions(sources, FAMILIES, 40, seed=29)  # the very ones that are counted
    monkeypatch.setattr(quality, "COUNT_SEED", 29)
    samples = judge_commonest(sources, asked, lambda _: None)
    found = {one.metric: one.value for one in samples}
    assert found["same"] >= 50  # yes or no
    assert found["list"] == 100 or found["list"] < found["same"]
    assert all(value > 0 for value in found.values())


def test_every_setting_is_judged_by_family(sources: Sources) -> None:
    model = build_model(TINY, 1).eval()
    asked = draw_questions(sources, FAMILIES, 2, seed=1)
    points = ask_all(model, ((1, 3, 5),), asked, lambda _: None)
    other = ask_all(build_model(TINY, 2).eval(), ((1, 3, 5),), asked, lambda _: None)
    samples = [
        *compare_points(PLAIN, points, points[0], asked),
        *compare_points(BUDGETS, other, points[0], asked),
        *judge_blind(model, asked, lambda _: None),
        *judge_commonest(sources, asked, lambda _: None),
    ]
    found = {(one.case, one.metric): one.value for one in samples}
    full, mild = asked_as(PLAIN, FULL), asked_as(PLAIN, setting(0.47, "fastv"))
    quarter = asked_as(PLAIN, setting(0.25, PYRAMID))
    assert found[full, "agreement"] == 1
    assert (full, "below_all") not in found
    assert found[asked_as(BUDGETS, FULL), "below_itself"] == 0
    assert found[quarter, "visual_tokens"] == pytest.approx(36, abs=1)
    assert found[quarter, "mmacs"] < found[mild, "mmacs"] < found[full, "mmacs"]
    for family in FAMILIES:
        assert found[quarter, f"below_{family}"] == (found[full, family] - found[quarter, family])
        assert 0 <= found[BLIND, family] <= 100
        assert 0 <= found[COMMONEST, family] <= 100


def test_both_trainings_are_asked_under_their_own_schedule(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings, "standard_spec", lambda: TINY)
    asked = draw_questions(sources, FAMILIES, 2, seed=1)
    said: list[str] = []
    assert list(trainings.judge_trained(tmp_path, asked, said.append)) == []
    assert "not there, the comparison of trainings is left out" in said[0]
    for name in (TRAINED, TRAINED_DROPPING):
        weights = build_model(TINY, 1).state_dict()
        contiguous = {key: value.contiguous() for key, value in weights.items()}
        save_file(contiguous, tmp_path / f"{name}.safetensors")
    samples = list(trainings.judge_trained(tmp_path, asked, said.append))
    found = {(one.case, one.metric) for one in samples}
    assert (TRAINED_DROPPING, trained("below")) in found
    assert (TRAINED, trained("where")) in found
