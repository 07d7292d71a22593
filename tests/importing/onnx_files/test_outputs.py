"""What an output seems to be, by its operator, its values and its name."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from importing.onnx_files.graphs import open_graph
from importing.onnx_files.outputs import OutputKind, choose_output, guess_output
from importing.onnx_files.trial_rows import make_trial_rows
from tests.fakes.own_models import make_linear, make_model


def _guess(model: onnx.ModelProto) -> OutputKind:
    graph = open_graph(model)
    values = graph.run(make_trial_rows(graph.inputs, 5))[0]
    return guess_output(model, graph.outputs[0], values).kind


def _hidden_softmax() -> onnx.ModelProto:
    """A softmax of other operators: only its values tell."""
    model = make_linear()
    model.graph.node[0].output[0] = "raw"
    model.graph.node.extend(
        [
            helper.make_node("Exp", ["raw"], ["e"]),
            helper.make_node("ReduceSum", ["e", "axes"], ["sum"]),
            helper.make_node("Div", ["e", "sum"], ["logits"]),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "axes"))
    return model


def _reshaped(kind: str) -> onnx.ModelProto:
    model = make_linear(end=kind, output="inner")
    model.graph.node.append(helper.make_node("Identity", ["inner"], ["out"]))
    model.graph.output[0].name = "out"
    return model


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (make_linear(), OutputKind.logits),
        (make_linear(end="Softmax"), OutputKind.softmax),
        (make_linear(end="LogSoftmax"), OutputKind.log_softmax),
        (make_linear(end="Sigmoid"), OutputKind.sigmoid),
        (_hidden_softmax(), OutputKind.softmax),
        (_reshaped("Softmax"), OutputKind.softmax),
        (make_linear(classes=1), OutputKind.margin),
        (make_linear(classes=1, output="value"), OutputKind.regression),
        (make_linear(classes=9, output="embedding"), OutputKind.embedding),
    ],
)
def test_an_output_is_recognised(model: onnx.ModelProto, kind: OutputKind) -> None:
    assert _guess(model) is kind


def test_boxes_are_a_detection() -> None:
    model = make_model(
        [helper.make_node("Reshape", ["x", "shape"], ["boxes"])],
        [("x", TensorProto.FLOAT, ["N", 40])],
        [("boxes", TensorProto.FLOAT, ["N", 10, 4])],
        {"shape": np.array([-1, 10, 4], np.int64)},
    )
    assert _guess(model) is OutputKind.detection


def test_of_several_outputs_the_one_that_classifies_answers_unless_another_is_named() -> None:
    model = make_linear(end="Softmax", output="probabilities")
    model.graph.node.append(helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1))
    label = helper.make_tensor_value_info("label", TensorProto.INT64, ["N", 1])
    model.graph.output.insert(0, label)
    graph = open_graph(model)
    values = graph.run(make_trial_rows(graph.inputs, 5))
    guesses = [
        guess_output(model, tensor, array)
        for tensor, array in zip(graph.outputs, values, strict=True)
    ]
    assert [guess.kind for guess in guesses] == [OutputKind.label, OutputKind.softmax]
    assert choose_output(guesses).tensor.name == "probabilities"
    assert choose_output(guesses, "label").kind is OutputKind.label
    with pytest.raises(ValueError, match="no such output; the model has label, probabilities"):
        choose_output(guesses, "logits")
