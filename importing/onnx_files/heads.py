"""Makes `logits` [N, K] of whatever a classifier returns, as nodes behind the model.

A Softmax or Sigmoid at the end is left out, so that nothing is lost to rounding; one that stands
elsewhere is inverted. Log-probabilities are logits already. One logit of two classes becomes two.
"""

import numpy as np
import onnx
from onnx import TensorProto

from importing.onnx_files.editing import (
    GraphEditor,
    drop_unused,
    raise_opset,
    rename_tensor,
    replace_outputs,
)
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import copy_model, find_producer
from importing.onnx_files.outputs import OutputGuess, OutputKind

LOGITS = "logits"
SMALLEST = 1e-30  # of a probability whose logarithm is taken
_INVERTED = {OutputKind.softmax: "Softmax", OutputKind.sigmoid: "Sigmoid"}


def put_logits_behind(
    model: onnx.ModelProto, answer: OutputGuess, kind: OutputKind, classes: int
) -> onnx.ModelProto:
    """Return the model with the one output `logits`, FP32 [N, classes].

    `kind` is what the output is, which may differ from the guess. Raises ImportFault if it is no
    classifier's.
    """
    if kind not in {
        OutputKind.logits,
        OutputKind.softmax,
        OutputKind.log_softmax,
        OutputKind.sigmoid,
        OutputKind.margin,
    }:
        raise ImportFault(f"output {answer.tensor.name} is {kind}, which has no classes")
    changed = raise_opset(copy_model(model))
    graph = GraphEditor(changed, "sparing_head")
    raw = _undo_activation(changed, graph, answer.tensor.name, kind)
    width = answer.tensor.shape[-1] if len(answer.tensor.shape) > 1 else 1
    single = answer.classes == 1 or kind is OutputKind.margin or width == 1
    if answer.tensor.datatype != "FP32":
        raw = graph.add("Cast", raw, to=TensorProto.FLOAT)
    raw = graph.add("Reshape", raw, graph.constant(np.array([-1, 1 if single else classes])))
    if single:
        pads = graph.constant(np.array([0, 1, 0, 0], np.int64))
        raw = graph.add("Pad", raw, pads, graph.constant(np.float32(0)))
    graph.put_last()
    rename_tensor(changed, raw, LOGITS)
    replace_outputs(changed, {LOGITS: (TensorProto.FLOAT, ("N", 2 if single else classes))})
    drop_unused(changed)
    return changed


def _undo_activation(
    model: onnx.ModelProto, graph: GraphEditor, name: str, kind: OutputKind
) -> str:
    operator = _INVERTED.get(kind)
    if operator is None:
        return name
    producer = find_producer(model, name)
    if producer is not None and producer.op_type == operator:
        return str(producer.input[0])
    low = graph.constant(np.float32(SMALLEST))
    numbers = graph.add("Cast", name, to=TensorProto.FLOAT)
    top = graph.constant(np.float32(1 if kind is OutputKind.softmax else 1 - 1e-7))
    logarithms = graph.add("Log", graph.add("Clip", numbers, low, top))
    if kind is OutputKind.softmax:
        return logarithms
    one = graph.constant(np.float32(1))
    rest = graph.add("Log", graph.add("Sub", one, graph.add("Clip", numbers, low, top)))
    return graph.add("Sub", logarithms, rest)
