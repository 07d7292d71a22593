"""MACs are those of a run of the graph; what cannot be counted is refused."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from importing.onnx_files.counting import count_macs
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import open_graph
from importing.onnx_files.trial_rows import make_trial_rows
from tests.fakes.own_models import make_linear, make_model, make_picture_net, make_text


def _one(
    node: onnx.NodeProto,
    shape: Sequence[int | str],
    weights: Mapping[str, Sequence[int]],
    rank: int,
) -> onnx.ModelProto:
    """A model of one node, with weights of ones; nothing tells the sizes of its output."""
    ones = {name: np.ones(size, np.float32) for name, size in weights.items()}
    free = [f"d{i}" for i in range(rank)]
    return make_model(
        [node], [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, free)], ones
    )


PICTURE: Sequence[int | str] = ["N", 4, 8, 8]
SEQUENCE: Sequence[int | str] = ["N", 7, 8]


def _convolve(kernel: Sequence[int], kind: str = "Conv", **attributes: Any) -> onnx.ModelProto:
    return _one(helper.make_node(kind, ["x", "w"], ["y"], **attributes), PICTURE, {"w": kernel}, 4)


def _multiply(
    kind: str, shape: Sequence[int | str], weight: Sequence[int], **attributes: Any
) -> onnx.ModelProto:
    node = helper.make_node(kind, ["x", "w"], ["y"], **attributes)
    return _one(node, shape, {"w": weight}, len(shape))


MODELS: dict[str, tuple[onnx.ModelProto, int]] = {
    "linear": (make_linear(8, 3), 24),
    "convolution": (_convolve((5, 4, 3, 3), pads=[1, 1, 1, 1]), 5 * 64 * 4 * 9),
    "grouped convolution": (_convolve((4, 1, 3, 3), group=4, pads=[1, 1, 1, 1]), 4 * 64 * 9),
    "strided convolution": (
        _convolve((5, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
        5 * 16 * 4 * 9,
    ),
    "transposed convolution": (_convolve((4, 5, 2, 2), "ConvTranspose"), 4 * 64 * 5 * 4),
    "product of a sequence": (_multiply("MatMul", SEQUENCE, (8, 5)), 7 * 8 * 5),
    "transposed Gemm": (_multiply("Gemm", ["N", 8], (5, 8), transB=1), 40),
    "Einsum": (_multiply("Einsum", SEQUENCE, (8, 5), equation="nij,jk->nik"), 7 * 8 * 5),
    "picture net": (make_picture_net(width=4), 16 * 16 * (4 * 27 + 12) + 9),
}


@pytest.mark.parametrize("case", MODELS)
def test_macs_of_one_row_are_counted(case: str) -> None:
    model, expected = MODELS[case]
    assert count_macs(model, make_trial_rows(open_graph(model).inputs, 1)) == expected


@pytest.mark.parametrize("length", [5, 50])
def test_macs_of_attention_grow_with_the_given_length(length: int) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    model = make_model(
        nodes,
        [("x", TensorProto.FLOAT, ["N", "L", 4])],
        [("y", TensorProto.FLOAT, ["N", "L", "M"])],
        {},
    )
    rows = make_trial_rows(open_graph(model).inputs, 1, shapes={"x": (length, 4)})
    assert count_macs(model, rows) == length * length * 4


def test_words_cost_only_what_follows_their_table() -> None:
    model = make_text()
    assert count_macs(model, make_trial_rows(open_graph(model).inputs, 1)) == 12


def test_an_operator_that_cannot_be_counted_is_refused_by_name() -> None:
    model = make_linear()
    model.graph.node.append(helper.make_node("SVMClassifier", ["features"], ["a", "b"]))
    with pytest.raises(ImportFault, match="SVMClassifier cannot be counted"):
        count_macs(model, {})


def test_a_product_inside_a_condition_is_refused() -> None:
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["features", "w"], ["z"])], "then", [], []
    )
    model = make_linear()
    model.graph.node.append(
        helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    )
    with pytest.raises(ImportFault, match="MatMul inside If cannot be counted"):
        count_macs(model, {})


def test_counting_leaves_the_model_as_it_is() -> None:
    model = make_picture_net(width=4)
    before = model.SerializeToString()
    count_macs(model, make_trial_rows(open_graph(model).inputs, 1))
    assert model.SerializeToString() == before
