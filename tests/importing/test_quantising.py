"""Int8 twins: which operators are quantised, and which stay in float."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import open_graph
from importing.quantising import find_outer_nodes, quantise_stage
from importing.stage_files import StageFile
from tests.fakes.own_models import make_linear, make_model

ROWS = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)


def _make_perceptron(layers: int, name: str = "layer") -> onnx.ModelProto:
    """MatMul and Add in turn, which ONNX Runtime makes one operator of, under another name."""
    rng = np.random.default_rng(0)
    weights, nodes, x = {}, [], "features"
    for layer in range(layers):
        weights[f"w{layer}"] = rng.normal(0, 1, (8, 8)).astype(np.float32)
        weights[f"b{layer}"] = rng.normal(0, 1, 8).astype(np.float32)
        y = "logits" if layer == layers - 1 else f"y{layer}"
        title = f"{name}{layer}" if name else ""
        nodes += [
            helper.make_node("MatMul", [x, f"w{layer}"], [f"p{layer}"], name=title),
            helper.make_node("Add", [f"p{layer}", f"b{layer}"], [y]),
        ]
        x = y
    return make_model(
        nodes,
        [("features", TensorProto.FLOAT, ["N", 8])],
        [("logits", TensorProto.FLOAT, ["N", 8])],
        weights,
    )


def _make_stage(model: onnx.ModelProto) -> StageFile:
    graph = open_graph(model)
    return StageFile(
        "net", model.SerializeToString(), graph.inputs, graph.outputs, 0, 0, True, "", ()
    )


def _list_float_weights(twin: StageFile) -> list[str]:
    """The weights that are still floats."""
    model = onnx.ModelProto.FromString(twin.raw)
    return sorted(
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and numpy_helper.to_array(tensor).ndim == 2
    )


@pytest.mark.parametrize("name", ["layer", ""])
def test_the_outer_operators_stay_in_float_after_the_runtimes_fusions(name: str) -> None:
    stage = _make_stage(_make_perceptron(4, name))
    twin = quantise_stage(stage, {"features": ROWS})
    assert _list_float_weights(twin) == []
    kept = quantise_stage(stage, {"features": ROWS}, kept=find_outer_nodes(twin))
    assert _list_float_weights(kept) == ["w0", "w3"]


@pytest.mark.parametrize("layers", [1, 2])
def test_a_twin_of_nothing_but_outer_operators_has_no_fallback(layers: int) -> None:
    stage = _make_stage(_make_perceptron(layers))
    assert find_outer_nodes(quantise_stage(stage, {"features": ROWS})) == []


def test_a_file_that_would_be_float_under_the_name_of_int8_is_refused() -> None:
    stage = _make_stage(make_linear())
    twin = quantise_stage(stage, {"features": ROWS})
    (name,) = [
        node.name
        for node in onnx.ModelProto.FromString(twin.raw).graph.node
        if node.op_type == "Gemm"
    ]
    with pytest.raises(ImportFault, match="quantised none of its operators"):
        quantise_stage(stage, {"features": ROWS}, kept=[name])


def test_values_that_an_activation_cuts_off_take_no_precision() -> None:
    """The activation becomes the quantisation behind it; before it there is none."""
    rng = np.random.default_rng(0)
    weights = {
        "w0": rng.normal(0, 1, (8, 8)).astype(np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "w1": rng.normal(0, 1, (8, 8)).astype(np.float32),
    }
    model = make_model(
        [
            helper.make_node("MatMul", ["features", "w0"], ["p"]),
            helper.make_node("Clip", ["p", "low", "high"], ["cut"]),
            helper.make_node("MatMul", ["cut", "w1"], ["logits"]),
        ],
        [("features", TensorProto.FLOAT, ["N", 8])],
        [("logits", TensorProto.FLOAT, ["N", 8])],
        weights,
    )
    twin = quantise_stage(_make_stage(model), {"features": ROWS})
    nodes = onnx.ModelProto.FromString(twin.raw).graph.node
    assert "Clip" not in {node.op_type for node in nodes}
    first = next(node for node in nodes if node.op_type == "MatMul")
    (behind,) = (node for node in nodes if first.output[0] in node.input)
    assert behind.op_type == "QuantizeLinear"
