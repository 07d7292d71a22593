"""The ablation trains four nets from the same gates, and says how far each collapsed."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from tests.tiny_training import quiet
from tokens.acm.network import AcmSettings
from tokens.acm.surgery import convert
from tokens.vision_transformer import VisionTransformer, VitSpec
from training.data.sets import DataSet
from training.fitting.vit import spec_for
from training.token_choice.ablation import LOSSES, train
from training.token_choice.reading import load_acm


def tiny_spec(data: DataSet) -> VitSpec:
    return replace(spec_for(data), width=16, layers=1, heads=2, hidden=32, stem=(4, 8, 8))


def write_nets(data: DataSet, folder: Path, settings: AcmSettings) -> tuple[Path, Path]:
    """A dense net, and one with learners."""
    torch.manual_seed(0)
    dense = VisionTransformer(tiny_spec(data))
    teacher, gates = folder / "vit.safetensors", folder / "acm-gates.safetensors"
    save_file(dense.state_dict(), teacher)
    save_file(convert(dense, settings).state_dict(), gates)
    return teacher, gates


def test_four_nets_learn_without_some_losses(tmp_path: Path, tiny_data: DataSet) -> None:
    teacher, gates = write_nets(tiny_data, tmp_path, AcmSettings(shared_gate=True))
    written = io.StringIO()
    console = Console(file=written, width=120)
    train(tiny_data, tiny_spec(tiny_data), teacher, gates, tmp_path, console, part=0.4)
    weights = [load_file(tmp_path / f"{name}.safetensors") for name in LOSSES]
    for other in weights[1:]:
        assert any(not torch.equal(other[name], value) for name, value in weights[0].items())
    assert all(written.getvalue().count(name) >= 2 for name in LOSSES)


@pytest.mark.parametrize("part", [0.0, 1.1])
def test_a_part_outside_an_epoch_is_refused(
    tmp_path: Path, tiny_data: DataSet, part: float
) -> None:
    with pytest.raises(ValueError, match="part of an epoch"):
        train(tiny_data, tiny_spec(tiny_data), tmp_path, tmp_path, tmp_path, quiet(), part=part)


def test_a_budget_that_is_none_is_refused(tmp_path: Path, tiny_data: DataSet) -> None:
    spec = tiny_spec(tiny_data)
    with pytest.raises(ValueError, match="beta: -1 given, 0 to 1 allowed"):
        train(tiny_data, spec, tmp_path, tmp_path, tmp_path, quiet(), beta=-1.0)


@pytest.mark.parametrize(
    "settings",
    [AcmSettings(), AcmSettings(2, shared_gate=True), AcmSettings(projections=False, gate_width=8)],
)
def test_a_net_is_read_with_the_settings_it_was_made_with(
    tmp_path: Path, tiny_data: DataSet, settings: AcmSettings
) -> None:
    teacher, gates = write_nets(tiny_data, tmp_path, settings)
    assert load_acm(gates, tiny_spec(tiny_data)).settings == settings
    for path, spec, message in [
        (teacher, tiny_spec(tiny_data), "no net with learners"),
        (gates, replace(tiny_spec(tiny_data), width=32), "no net with learners"),
        (tmp_path / "missing", tiny_spec(tiny_data), "cannot be read"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_acm(path, spec)
