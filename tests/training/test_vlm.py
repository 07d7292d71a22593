"""The recipe of the small vision-language model on a tiny one."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from core.devices.torch import TorchDevice
from routes.loading import load_route
from tests.tiny_training import quiet
from training import vlm as recipe
from training.data.grids.scenes import Pool, Sources
from training.data.sets import Split
from training.vision_language import route
from training.vision_language.curriculum import BUDGETS, SHORT
from training.vision_language.learning import standard_spec


def noise(*shape: int) -> Pool:
    rng = np.random.default_rng(0)
    return Pool(Split(rng.integers(0, 256, (20, *shape), dtype=np.uint8), np.arange(20) % 10))


@pytest.fixture
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = Sources(noise(28, 28), noise(32, 32, 3), noise(28, 28), "noise", False)
    spec = replace(
        standard_spec(), channels=(4, 8, 8), width=16, layers=4, heads=2, key_heads=1, hidden=16
    )
    short = replace(SHORT, pictures=2, steps=2, judged=2)
    monkeypatch.setattr(recipe, "load_sources", lambda: (sources, sources, sources))
    monkeypatch.setattr(recipe, "standard_spec", lambda: spec)
    monkeypatch.setattr(recipe, "CURRICULA", {"short": short})
    monkeypatch.setattr(recipe, "REPORTED_PICTURES", 16)


@pytest.mark.usefixtures("_tiny")
def test_a_trained_model_leaves_its_weights_and_a_table(tmp_path: Path) -> None:
    printed = io.StringIO()
    model = recipe.train(
        tmp_path, curriculum="short", epochs=1, console=Console(file=printed, width=200)
    )
    weights = load_file(tmp_path / "vlm-short.safetensors")
    assert weights.keys() == model.state_dict().keys()
    assert "held-out pictures" in printed.getvalue()
    assert "count" in printed.getvalue()


@pytest.mark.usefixtures("_tiny")
def test_all_variants_share_a_folder(tmp_path: Path) -> None:
    recipe.train(tmp_path, curriculum="short", epochs=1, ratio=0.5, console=quiet())
    recipe.train(tmp_path, curriculum="short", epochs=1, blind=True, console=quiet())
    names = {path.name for path in tmp_path.glob("*.json")}
    assert names == {
        "vlm-short-drop0.5-naming.json",
        "vlm-short-drop0.5.json",
        "vlm-short-blind-naming.json",
        "vlm-short-blind.json",
    }


@pytest.mark.usefixtures("_tiny")
def test_a_trained_model_becomes_a_route_with_measured_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "DROPS", (1, 2))
    monkeypatch.setattr(route, "EARLY_DROPS", ())
    monkeypatch.setattr(route, "QUESTIONS", 2)
    runs, out = tmp_path / "runs", tmp_path / "models"
    model = recipe.train(runs, curriculum="short", epochs=1, out=out, console=quiet())
    directory = out / "vlm-small" / "1"
    loaded = load_route(directory, TorchDevice())
    provenance = loaded.manifest.provenance
    assert provenance["visual_tokens"][0] == 144.0
    assert provenance["agreement"][0] == 1.0
    assert len(provenance["right"]) == 1 + len(route.SHARES)
    assert loaded.manifest.parameters["visual_tokens"].min == 36.0
    found = json.loads((directory / "operating-points.json").read_text())
    assert len(found["families"]) == 2 * 9
    assert {len(point["right"]) for point in found["points"]} == {18}
    assert set(found["points"][0]["same_as_full"]) == {"1"}
    shipped = load_file(directory / "vlm.safetensors")["words.weight"]
    assert shipped.dtype == torch.float16
    assert torch.equal(shipped, model.words.weight.half())


@pytest.mark.usefixtures("_tiny")
def test_a_trained_model_is_trained_further_for_every_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "DROPS", (1, 2))
    monkeypatch.setattr(route, "EARLY_DROPS", ())
    curricula = {
        "whole": replace(SHORT, pictures=2, steps=2, judged=2),
        "budgets": replace(BUDGETS, pictures=2, steps=8, judged=2),
    }
    monkeypatch.setattr(recipe, "CURRICULA", curricula)
    with pytest.raises(ValueError, match="train the curriculum whole first"):
        recipe.train(tmp_path, curriculum="budgets", epochs=1, console=quiet())
    whole = recipe.train(tmp_path, epochs=1, console=quiet())
    before = whole.words.weight.clone()
    further = recipe.train(tmp_path, curriculum="budgets", epochs=1, console=quiet())
    moved = (further.words.weight - before).abs().max()
    assert 0 < moved < 0.02  # from where the other ended, not from anew
    described = json.loads((tmp_path / "vlm-budgets.json").read_text())["recipe"]
    assert "begins=vlm-whole:" in described
    assert described.count("Dropping(") == 1 + 1 + len(route.SHARES)


def test_the_text_only_twin_becomes_no_route(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="text-only twin becomes no route"):
        recipe.train(tmp_path, blind=True, out=tmp_path, console=quiet())


def test_an_unknown_curriculum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown curriculum 'long'"):
        recipe.train(tmp_path, curriculum="long", console=quiet())


@pytest.mark.parametrize(("ratio", "blind"), [(0.0, False), (1.5, False), (0.5, True)])
def test_a_ratio_that_makes_no_sense_is_refused(tmp_path: Path, ratio: float, blind: bool) -> None:
    with pytest.raises(ValueError, match="ratio"):
        recipe.train(tmp_path, ratio=ratio, blind=blind, console=quiet())
