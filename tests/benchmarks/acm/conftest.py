"""Tiny nets in files, as their trainings leave them, with random weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.acm.names import ABLATIONS
from benchmarks.acm.nets import Places
from tests.squares import make_squares_data
from tokens.acm.network import AcmSettings
from tokens.acm.surgery import convert
from tokens.vision_transformer import VisionTransformer, VitSpec
from training.data.sets import DataSet, Split
from training.fitting.vit import spec_for
from training.token_baselines.methods import METHODS


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def data() -> DataSet:
    whole = make_squares_data()

    def cut(split: Split) -> Split:
        return Split(split.pictures[:64], split.labels[:64])

    return replace(whole, held_out=cut(whole.held_out), test=cut(whole.test))


@pytest.fixture
def spec(data: DataSet) -> VitSpec:
    return replace(spec_for(data), width=16, layers=2, heads=2, hidden=32, stem=(4, 8, 8))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Nothing is there yet."""
    names = ("vit.safetensors", "acm.safetensors", "singles", "baselines", "ablation")
    return Places(*(tmp_path / name for name in names))


@pytest.fixture
def filled(places: Places, spec: VitSpec) -> Places:
    """Every net is there."""
    torch.manual_seed(0)
    dense = VisionTransformer(spec).eval()
    acm = convert(dense, AcmSettings(shared_gate=True))
    save_file(dense.state_dict(), places.teacher)
    for folder in (places.singles, places.baselines, places.ablation):
        folder.mkdir()
    files = [places.singles / f"acm-beta{beta:g}.safetensors" for beta in (0.35, 0.5)]
    files += [places.ablation / f"{name}.safetensors" for name in ABLATIONS]
    for path in (places.acm, *files):
        save_file(acm.state_dict(), path)
    for name, method in METHODS.items():
        net = method.build(dense)
        save_file(net.state_dict(), places.baselines / f"{name}.safetensors")
    return places
