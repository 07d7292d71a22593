"""The whole recipe on tiny nets: phases in order, files kept, and clear refusals."""

import inspect
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from sparing.commands.train_acm import train_acm
from tests.tiny_training import quiet
from tokens.acm.network import AcmSettings
from tokens.vision_transformer import VisionTransformer, VitSpec
from training import acm as recipe
from training.acm import Epochs, load_teacher
from training.data.sets import DataSet, Split
from training.fitting.vit import spec_for

SHORT = Epochs(1, 1, 1)


def tiny_spec(data: DataSet) -> VitSpec:
    return replace(spec_for(data), width=16, layers=1, heads=2, hidden=32, stem=(4, 8, 8))


def cut(split: Split, rows: int) -> Split:
    return Split(split.pictures[:rows], split.labels[:rows])


@pytest.fixture
def teacher(tmp_path: Path, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dense net's file; the recipe takes a part of the tiny data, and this architecture."""
    part = replace(tiny_data, train=cut(tiny_data.train, 256), held_out=cut(tiny_data.held_out, 50))
    monkeypatch.setattr(recipe, "load_data", lambda name: part)
    monkeypatch.setattr(recipe, "spec_for", tiny_spec)
    torch.manual_seed(0)
    path = tmp_path / "vit.safetensors"
    save_file(VisionTransformer(tiny_spec(tiny_data)).state_dict(), path)
    return path


def test_it_trains_the_phases_in_order_and_says_what_each_budget_costs(
    tmp_path: Path, teacher: Path
) -> None:
    written = io.StringIO()
    console = Console(file=written, width=100)
    recipe.train("squares", tmp_path, teacher=teacher, epochs=SHORT, console=console)
    text = written.getvalue()
    places = [text.index(f"{name}: epoch 1 of 1") for name in ("acm-distilled", "acm-gates", "acm")]
    assert places == sorted(places)
    assert "of the dense net's" in text
    assert text.count("%") >= 2 * len(recipe.BETAS)
    assert (tmp_path / "acm.safetensors").exists()


def test_what_is_finished_is_kept_and_a_single_budget_shares_the_distilled_learners(
    tmp_path: Path, teacher: Path
) -> None:
    first = recipe.train("squares", tmp_path, teacher=teacher, epochs=SHORT, console=quiet())
    stamps = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("acm*.safetensors")}
    again = recipe.train("squares", tmp_path, teacher=teacher, epochs=SHORT, console=quiet())
    for name, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    recipe.train("squares", tmp_path, teacher=teacher, epochs=SHORT, beta=0.5, console=quiet())
    for name, stamp in stamps.items():
        assert (tmp_path / name).stat().st_mtime_ns == stamp
    assert (tmp_path / "acm-beta0.5.safetensors").exists()


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path, teacher: Path) -> None:
    recipe.train("squares", tmp_path, teacher=teacher, epochs=SHORT, console=quiet())
    with pytest.raises(ValueError, match="another recipe"):
        recipe.train("squares", tmp_path, teacher=teacher, epochs=SHORT, seed=2, console=quiet())


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan")])
def test_a_budget_outside_0_to_1_is_refused(tmp_path: Path, beta: float) -> None:
    with pytest.raises(ValueError, match=r"budget: .* given, 0 to 1 allowed"):
        recipe.train("squares", tmp_path, teacher=tmp_path / "none", beta=beta)


def test_a_checkpoint_of_another_architecture_is_refused(
    tmp_path: Path, tiny_data: DataSet, teacher: Path
) -> None:
    spec = tiny_spec(tiny_data)
    for other, message in [
        (replace(spec, layers=2), r"blocks.1.\S* is none"),
        (replace(spec, layers=0), "it has blocks.0"),
        (replace(spec, width=32), r"positions is \[49, 16\], \[49, 32\] is needed"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_teacher(teacher, other)


def test_a_file_that_is_no_net_is_refused(tmp_path: Path, tiny_data: DataSet) -> None:
    path = tmp_path / "text.safetensors"
    path.write_text("none")
    for broken in (path, tmp_path / "missing.safetensors"):
        with pytest.raises(ValueError, match="cannot be read as safetensors"):
            load_teacher(broken, tiny_spec(tiny_data))


def test_the_commands_defaults_are_the_recipes() -> None:
    options = inspect.signature(train_acm).parameters
    names = ("distil_epochs", "gate_epochs", "epochs")
    assert Epochs(*(options[name].default for name in names)) == recipe.FULL
    given = AcmSettings(
        options["learners"].default,
        projections=not options["dense_attention"].default,
        shared_gate=options["shared_gate"].default,
    )
    assert given == recipe.STANDARD
