"""The whole recipe on tiny nets: phases in order, files kept, and clear refusals."""

import inspect
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from core.devices.onnx import OnnxDevice
from routes.loading import load_route
from routes.offline import run_offline
from sparing.commands.training.acm import train_acm
from tests.tiny_training import quiet
from tokens.acm.network import AcmSettings
from tokens.vision_transformer import PatchSpec, VisionTransformer, VitSpec
from training import acm as recipe
from training.acm import Epochs
from training.data.sets import DataSet, Split
from training.export.acm_route import BETAS, FormTimes, Times
from training.fitting.dense_teacher import load_teacher
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
    assert text.count("%") >= 2 * len(BETAS)
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


@pytest.fixture
def foreign(tmp_path: Path, tiny_data: DataSet) -> Path:
    """A small ViT of transformers for the tiny data, in a directory."""
    transformers = pytest.importorskip("transformers")
    folder, spec = tmp_path / "vit", tiny_spec(tiny_data)
    torch.manual_seed(0)
    transformers.ViTForImageClassification(
        transformers.ViTConfig(
            image_size=spec.size_px, patch_size=7, num_channels=len(spec.mean),
            num_labels=spec.classes, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32,
        )
    ).save_pretrained(folder)  # fmt: skip
    described = {"image_mean": spec.mean, "image_std": spec.std}
    (folder / "preprocessor_config.json").write_text(json.dumps(described))
    return folder


def test_a_directory_of_another_library_may_be_the_teacher(
    tmp_path: Path, teacher: Path, foreign: Path
) -> None:
    out = tmp_path / "models"
    net = recipe.train(
        "squares",
        tmp_path,
        teacher=foreign,
        epochs=Epochs(1, 0, 1),
        settings=AcmSettings(shared_gate=True),
        out=out,
        measure=measure_by_rows,
        console=quiet(),
    )
    assert isinstance(net.spec, PatchSpec)
    assert net.spec.tokens == 1 + 16
    assert list(out.glob("*-acm/1/route.toml"))


def test_a_directory_for_other_pictures_is_refused(foreign: Path, tiny_data: DataSet) -> None:
    spec = tiny_spec(tiny_data)
    for change, message in (
        ({"size_px": 32}, "28 pixels a side, the data has 32"),
        ({"mean": (0.5,) * 3, "std": (0.5,) * 3}, "1 channels, the data has 3"),
        ({"classes": 3}, "classes, the data has 3"),
    ):
        with pytest.raises(ValueError, match=message):
            load_teacher(foreign, replace(spec, **change))


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


def measure_by_rows(
    path: Path, pictures: object, betas: Sequence[float], batches: Sequence[int]
) -> Times:
    """Instead of measured times: sorting pays from 8 rows on, but not for all learners."""
    return {
        (beta, rows): FormTimes(100, 90 if rows >= 8 and beta < 1 else 110)
        for beta in betas
        for rows in batches
    }


def test_a_net_for_every_budget_becomes_a_route(
    tmp_path: Path, teacher: Path, tiny_data: DataSet
) -> None:
    out = tmp_path / "models"
    net = recipe.train(
        "squares",
        tmp_path,
        teacher=teacher,
        epochs=SHORT,
        out=out,
        measure=measure_by_rows,
        console=quiet(),
    )
    loaded = load_route(out / "squares-acm" / "1", OnnxDevice())
    manifest, pictures = loaded.manifest, tiny_data.test.pictures[:4]
    assert "LossWeights(budget=0.5, " in (tmp_path / "acm.json").read_text()
    shipped = load_file(out / "squares-acm" / "1" / "acm.safetensors")
    first = "blocks.0.mlp.layers.0.first"
    assert shipped[first].dtype == torch.float16
    assert torch.equal(shipped[first].float(), net.state_dict()[first])
    assert manifest.stages[0].macs == net.cost().most
    assert manifest.options["sorting"] == [{"beta": beta, "rows": 8} for beta in BETAS if beta < 1]
    assert manifest.options["times_us"][:2] == [[0.0, 1, 100, 110], [0.0, 2, 100, 110]]
    assert manifest.parameters["compute"].default == 0.5
    macs = manifest.provenance["test_macs_by_beta"]
    assert len(macs) == len(manifest.provenance["test_accuracy_by_beta"]) == len(BETAS)
    assert max(macs) <= net.cost().most
    controls = {"compute": 0.35}
    rows = run_offline(loaded.pipeline, {"image": pictures}, OnnxDevice(), controls)
    with torch.no_grad():
        logits, _ = net(torch.from_numpy(pictures.copy()), torch.full((4,), 0.35))
    answers = [row.outcome for row in rows if row.outcome is not None]
    assert [one.outputs["label"] for one in answers] == logits.argmax(dim=1).tolist()


def test_a_net_for_one_budget_becomes_no_route(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a route needs a net for every budget"):
        recipe.train("squares", tmp_path, teacher=tmp_path / "none", beta=0.5, out=tmp_path)
