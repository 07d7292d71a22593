"""The exported net with learners answers as torch's does, in both forms and in any company."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch

from core.devices.onnx import OnnxDevice
from tokens.acm.network import AcmSettings, AcmVit
from tokens.vision_transformer import PatchSpec, VitSpec
from training.export import acm_graph
from training.export.acm_graph import export_acm

GREY = VitSpec(12, 4, (0.3,), (0.3,), width=16, layers=2, heads=2, hidden=32, stem=(4, 8, 8))
COLOUR = replace(GREY, mean=(0.3, 0.2, 0.1), std=(0.3, 0.2, 0.1))
PATCHES = PatchSpec(12, 4, (0.3, 0.2, 0.1), (0.3, 0.2, 0.1), 16, 2, 2, 32, patch_px=4)
NETS = {
    "every gate": (GREY, AcmSettings()),
    "shared gate": (GREY, AcmSettings(shared_gate=True)),
    "mlp alone": (GREY, AcmSettings(projections=False)),
    "colour": (COLOUR, AcmSettings(shared_gate=True)),
    "patches": (PATCHES, AcmSettings(shared_gate=True)),
    "long sums": (replace(GREY, hidden=1280), AcmSettings(shared_gate=True)),
}
EVERY_NET = pytest.mark.parametrize(
    ("spec", "settings"), list(NETS.values()), ids=list(NETS.keys())
)
ROWS = 9


@pytest.fixture(params=[0, 512], ids=["projections sorted", "projections masked"], autouse=True)
def _projections(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acm_graph, "SORTED_PROJECTION_WIDTH", request.param)


class Answered(NamedTuple):
    logits: npt.NDArray[np.float32]
    learners: npt.NDArray[np.int64]


def make_net(spec: VitSpec, settings: AcmSettings) -> AcmVit:
    """Weights large enough that every part changes the logits and gates differ among tokens."""
    torch.manual_seed(0)
    net = AcmVit(spec, settings)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        net.outer(torch.from_numpy(make_pictures(spec)))  # statistics of the stem
    return net.eval()


def make_pictures(spec: VitSpec) -> npt.NDArray[np.uint8]:
    shape = (ROWS, spec.size_px, spec.size_px) + ((3,) if len(spec.mean) == 3 else ())
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def open_net(net: AcmVit, path: Path) -> onnxruntime.InferenceSession:
    export_acm(net, path)
    return OnnxDevice().open(path)


def run(
    session: onnxruntime.InferenceSession,
    pictures: npt.NDArray[np.uint8],
    beta: npt.NDArray[Any],
    *,
    is_sorted: bool,
) -> Answered:
    feed = {"image": pictures, "beta": beta.astype(np.float32), "sorted": np.array(is_sorted)}
    return Answered(*session.run(["logits", "learners"], feed))


@EVERY_NET
@pytest.mark.parametrize("is_sorted", [True, False])
def test_it_chooses_and_answers_as_torch_does(
    tmp_path: Path, spec: VitSpec, settings: AcmSettings, is_sorted: bool
) -> None:
    net, pictures = make_net(spec, settings), make_pictures(spec)
    beta = np.linspace(0, 1, ROWS, dtype=np.float32)
    found = run(open_net(net, tmp_path / "acm.onnx"), pictures, beta, is_sorted=is_sorted)
    with torch.no_grad():
        logits, choices = net(torch.from_numpy(pictures), torch.from_numpy(beta))
    np.testing.assert_allclose(found.logits, logits.numpy(), atol=1e-5)
    chosen = np.stack([choice.learners_BT.numpy() for choice in choices], axis=2)
    np.testing.assert_array_equal(found.learners, chosen)
    assert len(np.unique(chosen)) > 2
    assert found.logits.std() > 0.1


@EVERY_NET
def test_both_forms_give_the_same_bits(
    tmp_path: Path, spec: VitSpec, settings: AcmSettings
) -> None:
    session = open_net(make_net(spec, settings), tmp_path / "acm.onnx")
    pictures, beta = make_pictures(spec), np.linspace(0, 1, ROWS)
    masked, by_choice = (
        run(session, pictures, beta, is_sorted=is_sorted) for is_sorted in (False, True)
    )
    np.testing.assert_array_equal(masked.logits, by_choice.logits)


@EVERY_NET
def test_a_picture_and_its_budget_have_the_same_bits_in_any_batch(
    tmp_path: Path, spec: VitSpec, settings: AcmSettings
) -> None:
    session = open_net(make_net(spec, settings), tmp_path / "acm.onnx")
    pictures, beta = make_pictures(spec), np.linspace(0, 1, ROWS)
    whole = run(session, pictures, beta, is_sorted=True)
    for row in range(ROWS):
        alone = run(session, pictures[row : row + 1], beta[row : row + 1], is_sorted=row % 2 == 0)
        np.testing.assert_array_equal(alone.logits[0], whole.logits[row])
        np.testing.assert_array_equal(alone.learners[0], whole.learners[row])


def test_one_choice_for_every_token_leaves_the_other_groups_empty(tmp_path: Path) -> None:
    net = make_net(GREY, AcmSettings())
    with torch.no_grad():
        for module in net.modules_in_order():
            module.gate.last.weight.zero_()
            module.gate.shift.weight.zero_()
            module.gate.last.bias.copy_(torch.arange(len(module.gate.last.bias)) == 0)
    session = open_net(net, tmp_path / "acm.onnx")
    found = run(session, make_pictures(GREY), np.ones(ROWS), is_sorted=True)
    smallest = [module.gate.smallest for module in net.modules_in_order()]
    np.testing.assert_array_equal(found.learners[0, 0], smallest)
    masked = run(session, make_pictures(GREY), np.ones(ROWS), is_sorted=False)
    np.testing.assert_array_equal(found.logits, masked.logits)
