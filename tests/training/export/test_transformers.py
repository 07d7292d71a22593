"""An exported transformer answers as torch's does, and its MACs are counted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tokens.acm.network import count_dense
from tokens.vision_transformer import PatchSpec, VisionTransformer, VitSpec
from training.export.classifiers import check_parity, run_onnx
from training.export.cost import count_macs
from training.export.transformers import export_vit

GREY = VitSpec(12, 4, (0.3,), (0.3,), width=16, layers=2, heads=2, hidden=32, stem=(4, 8, 8))
COLOUR = replace(GREY, mean=(0.3, 0.2, 0.1), std=(0.3, 0.2, 0.1))
PATCHES = PatchSpec(12, 4, (0.3, 0.2, 0.1), (0.3, 0.2, 0.1), 16, 2, 2, 32, patch_px=4)
BOTH = pytest.mark.parametrize("spec", [GREY, COLOUR, PATCHES], ids=["grey", "colour", "patches"])


def make_net(spec: VitSpec) -> VisionTransformer:
    """Weights large enough that every part changes the logits, and a stem with statistics."""
    torch.manual_seed(0)
    net = VisionTransformer(spec)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        net(torch.from_numpy(make_pictures(spec, 16)))
    return net.eval()


def make_pictures(spec: VitSpec, rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    shape = (rows, spec.size_px, spec.size_px) + ((3,) if len(spec.mean) == 3 else ())
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@BOTH
def test_its_logits_are_torchs(tmp_path: Path, spec: VitSpec) -> None:
    net, path = make_net(spec), tmp_path / "vit.onnx"
    export_vit(net, path)
    assert check_parity(net, path, make_pictures(spec, 9)) < 1e-4
    assert run_onnx(path, make_pictures(spec, 9)).std() > 0.1


@BOTH
def test_its_macs_are_those_of_the_net(tmp_path: Path, spec: VitSpec) -> None:
    export_vit(make_net(spec), tmp_path / "vit.onnx")
    assert count_macs(tmp_path / "vit.onnx") == count_dense(spec)


def test_a_picture_has_the_same_logits_in_any_batch(tmp_path: Path) -> None:
    path, pictures = tmp_path / "vit.onnx", make_pictures(GREY, 9)
    export_vit(make_net(GREY), path)
    alone = np.concatenate([run_onnx(path, pictures[row : row + 1]) for row in range(9)])
    np.testing.assert_array_equal(run_onnx(path, pictures), alone)
