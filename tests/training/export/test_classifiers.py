"""Exported files: the same answers, the right count of work, nothing beside the file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from core.devices.onnx import OnnxDevice
from training.data.sets import DataSet
from training.export.classifiers import check_parity, export_onnx, run_onnx
from training.export.cost import count_macs, measure_us_per_picture
from training.nets.building import build_net
from training.nets.pools import Classifier, NetSpec


def settled(spec: NetSpec, data: DataSet) -> Classifier:
    """A net whose batch norms have seen pictures, so that folding them has something to do."""
    torch.manual_seed(3)
    net = build_net(spec, data).train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.from_numpy(data.train.pictures[:64]))
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return net


def test_every_kind_of_layer_answers_as_torch_does(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    for spec in tiny_pool:
        net = settled(spec, tiny_data)
        export_onnx(net, tmp_path / "net.onnx", 28)
        assert check_parity(net, tmp_path / "net.onnx", tiny_data.held_out.pictures) < 1e-5


def test_a_colour_nets_layers_answer_as_torch_does(
    colour_data: DataSet, colour_spec: NetSpec, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(settled(colour_spec, colour_data), path, 28)
    net = settled(colour_spec, colour_data)
    parity = check_parity(net, path, colour_data.held_out.pictures)
    assert parity < 1e-4  # whitening magnifies rounding
    assert OnnxDevice().open(path).get_inputs()[0].shape == ["N", 28, 28, 3]
    assert measure_us_per_picture(path, (1,), repeats=1)[1] > 0
    whitening = 27 * 27 * 24 * 4 * 3
    first = 27 * 27 * 8 * 9 * 24
    later = 3 * 13 * 13 * 8 * 9 * 8
    assert count_macs(path) == whitening + first + later + 8 * 4


def test_a_net_that_changed_after_export_fails_parity(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    net = settled(tiny_pool[1], tiny_data)
    export_onnx(net, tmp_path / "net.onnx", 28)
    with torch.no_grad():
        net.head.bias.add_(0.01)
    with pytest.raises(ValueError, match=r"logits differ from torch's by 0.01"):
        check_parity(net, tmp_path / "net.onnx", tiny_data.held_out.pictures)


def test_the_file_is_whole_and_takes_any_number_of_rows(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(settled(tiny_pool[2], tiny_data), path, 28)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    model = onnx.load(path)
    assert not model.doc_string and not model.graph.doc_string
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    (image,) = OnnxDevice().open(path).get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["N", 28, 28])
    alone = np.concatenate([run_onnx(path, row[None]) for row in tiny_data.test.pictures[:5]])
    assert np.array_equal(alone, run_onnx(path, tiny_data.test.pictures[:5]))


def test_macs_are_those_counted_by_hand(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    export_onnx(settled(tiny_pool[2], tiny_data), tmp_path / "net.onnx", 28)
    stem = 14 * 14 * 8 * 9 * 1
    residual = 2 * 14 * 14 * 8 * 9 * 8
    second = 7 * 7 * 16 * 9 * 8
    head = 16 * 4
    assert count_macs(tmp_path / "net.onnx") == stem + residual + second + head


def test_time_is_measured_for_every_batch_size(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    export_onnx(settled(tiny_pool[0], tiny_data), tmp_path / "net.onnx", 28)
    costs = measure_us_per_picture(tmp_path / "net.onnx", (1, 32), repeats=3)
    assert costs.keys() == {1, 32}
    assert 0 < costs[32] < costs[1]
