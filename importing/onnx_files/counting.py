"""Counts a model's multiply-accumulates from its graph, with the sizes that a run of it has.

The graph runs once with one row, with every tensor that a counted operator touches as an output, so
that no size is guessed. An operator that does the work of many and cannot be counted, such as a
loop, is refused.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx
from onnx import TensorProto, ValueInfoProto, inliner

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import (
    Feed,
    copy_model,
    list_inner_nodes,
    list_nodes,
    open_graph,
    read_attribute,
)

Shapes = Mapping[str, tuple[int, ...]]
Count = Callable[[Any, Shapes], int]  # a node, and the shapes of its tensors


def _convolution(node: Any, shapes: Shapes) -> int:
    weight = shapes[node.input[1]]  # [out, in / groups, *kernel]
    return math.prod(shapes[node.output[0]]) * math.prod(weight[1:])


def _quantised_convolution(node: Any, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[3]][1:])


def _transposed_convolution(node: Any, shapes: Shapes) -> int:
    weight = shapes[node.input[1]]  # [in, out / groups, *kernel]
    return math.prod(shapes[node.input[0]]) * math.prod(weight[1:])


def _matrix_product(node: Any, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: Any, shapes: Shapes) -> int:
    inner = shapes[node.input[0]][0 if read_attribute(node, "transA", 0) else 1]
    return math.prod(shapes[node.output[0]]) * inner


def _einsum(node: Any, shapes: Shapes) -> int:
    equation = read_attribute(node, "equation", b"").decode().replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if "..." in equation or len(terms) != len(node.input):
        raise ImportFault(f"Einsum {equation!r} cannot be counted")
    sizes = {
        letter: size
        for term, name in zip(terms, node.input, strict=True)
        for letter, size in zip(term, shapes[name], strict=True)
    }
    return math.prod(sizes.values()) if len(terms) > 1 else 0


def _recurrent(gates: int) -> Count:
    def count(node: Any, shapes: Shapes) -> int:
        steps = math.prod(shapes[node.input[0]][:2])
        weight, recurrence = shapes[node.input[1]], shapes[node.input[2]]
        assert weight[1] % gates == 0, "the shapes of the operator's definition"
        return steps * (math.prod(weight) + math.prod(recurrence))

    return count


def _linear_model(node: Any, shapes: Shapes) -> int:
    rows = shapes[node.input[0]][0]
    return rows * len(read_attribute(node, "coefficients", ()))


COUNTED: Mapping[str, Count] = MappingProxyType(
    {
        "Conv": _convolution,
        "FusedConv": _convolution,
        "ConvInteger": _convolution,
        "QLinearConv": _quantised_convolution,
        "ConvTranspose": _transposed_convolution,
        "MatMul": _matrix_product,
        "FusedMatMul": _matrix_product,
        "MatMulInteger": _matrix_product,
        "Gemm": _gemm,
        "FusedGemm": _gemm,
        "Einsum": _einsum,
        "LSTM": _recurrent(4),
        "GRU": _recurrent(3),
        "RNN": _recurrent(1),
        "LinearClassifier": _linear_model,
        "LinearRegressor": _linear_model,
    }
)
# Operators that multiply much, and are not counted.
UNCOUNTED = frozenset(
    {
        "Attention",
        "DeformConv",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "GroupQueryAttention",
        "MatMulNBits",
        "MultiHeadAttention",
        "QLinearMatMul",
        "SVMClassifier",
        "SVMRegressor",
    }
)


def count_macs(model: onnx.ModelProto, feed: Feed) -> int:
    """Count the multiply-accumulates of one run of `feed`, which holds one row.

    Raises ImportFault if an operator cannot be counted.
    """
    inlined = inliner.inline_local_functions(model) if model.functions else copy_model(model)
    _refuse_uncounted(inlined)
    counted = [node for node in inlined.graph.node if node.op_type in COUNTED]
    shapes = _measure_shapes(inlined, counted, feed)
    return sum(COUNTED[node.op_type](node, shapes) for node in counted)


def _refuse_uncounted(model: onnx.ModelProto) -> None:
    for node in list_nodes(model.graph):
        if node.op_type in UNCOUNTED:
            raise ImportFault(f"MACs of the operator {node.op_type} cannot be counted")
    for node in model.graph.node:
        for inner in list_inner_nodes(node):
            if inner.op_type in COUNTED:
                raise ImportFault(
                    f"MACs of {inner.op_type} inside {node.op_type} cannot be counted"
                )


def _measure_shapes(model: onnx.ModelProto, nodes: list[Any], feed: Feed) -> Shapes:
    """Return the shapes of all tensors that the nodes take and make, from one run."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    shapes |= {name: tuple(array.shape) for name, array in feed.items()}
    shapes |= _read_constants(model)
    wanted = {name for node in nodes for name in (*node.input, *node.output[:1]) if name}
    missing = sorted(wanted - set(shapes))
    if not missing:
        return shapes
    outputs = {value.name for value in model.graph.output}
    model.graph.output.extend(ValueInfoProto(name=name) for name in missing if name not in outputs)
    found = open_graph(model, optimised=False).run(feed, missing)
    return {
        **shapes,
        **{name: tuple(array.shape) for name, array in zip(missing, found, strict=True)},
    }


def _read_constants(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    constants: dict[str, tuple[int, ...]] = {}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = read_attribute(node, "value", None)
            if isinstance(value, TensorProto):
                constants[node.output[0]] = tuple(value.dims)
    return constants
