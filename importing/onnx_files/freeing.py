"""Makes a batch that is fixed at 1 free, or declares it free where the graph cannot batch.

Nothing here is sure to be right: the caller proves it by running both models.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from importing.onnx_files.editing import GraphEditor, rename_tensor
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import (
    Array,
    copy_model,
    list_inner_nodes,
    list_inputs,
    make_unique,
    name_all,
    open_graph,
    read_attribute,
)

ROWS = "N"
_PREFIX = "sparing_rows"
Constants = Mapping[str, Array]


def free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make a batch that is fixed at 1 free: in the declarations, in the constant shapes of Reshape
    and Expand, and in constants that are joined to rows, as the class token of a transformer is.
    """
    freed = _free_declarations(copy_model(model))
    constants = {**_evaluate_constants(freed), **dict(_list_constants(freed))}
    graph = GraphEditor(freed, _PREFIX)
    rows = _count_rows(freed, graph)
    added = len(graph.nodes)
    for node in freed.graph.node:
        if node.op_type == "Reshape":
            _free_reshape(node, constants, graph)
        elif node.op_type == "Expand":
            _free_expand(node, constants, graph, rows)
        elif node.op_type == "Concat":
            _repeat_constants(node, constants, graph, rows)
    if len(graph.nodes) > added:
        graph.put_first()
    return freed


def declare_free_rows(model: onnx.ModelProto) -> onnx.ModelProto:
    """Declare the batch free, though the graph runs only one row.

    An Expand behind each output, which changes no row, gives it the input's number of rows. Else
    the runtime would infer a batch of 1 from constants of the graph, which no route declares.
    """
    freed = _free_declarations(copy_model(model))
    graph = GraphEditor(freed, _PREFIX)
    rows = _count_rows(freed, graph)
    for value in freed.graph.output:
        rank = len(value.type.tensor_type.shape.dim)
        if rank == 0:
            continue
        name = value.name
        inner = make_unique(name_all(freed), f"{name}_fixed")
        rename_tensor(freed, name, inner)
        value.name = name
        sizes = _join_sizes(graph, rows, np.ones(rank - 1, np.int64))
        graph.add("Expand", inner, sizes, output=name)
    graph.put_last()
    return freed


def _free_declarations(model: onnx.ModelProto) -> onnx.ModelProto:
    for value in (*list_inputs(model), *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims) and dims[0].dim_value == 1:
            dims[0].Clear()
            dims[0].dim_param = ROWS
    del model.graph.value_info[:]
    return model


def _list_constants(model: onnx.ModelProto) -> Iterator[tuple[str, Array]]:
    for tensor in model.graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in model.graph.node:
        value = read_attribute(node, "value", None) if node.op_type == "Constant" else None
        if value is not None:
            yield node.output[0], numpy_helper.to_array(value)


def _evaluate_constants(model: onnx.ModelProto) -> dict[str, Array]:
    """Return the sizes and joined tensors that nodes compute from constants alone, of which torch's
    tracing exporter leaves many.
    """
    changing = {value.name for value in list_inputs(model)}
    makers: dict[str, Any] = {}
    wanted: set[str] = set()
    for node in model.graph.node:
        taken = {*node.input, *(name for one in list_inner_nodes(node) for name in one.input)}
        if taken & changing:
            changing.update(node.output)
        else:
            makers |= dict.fromkeys(node.output, node)
        if node.op_type in {"Concat", "Expand", "Reshape"}:
            wanted.update(node.input)
    wanted &= makers.keys()
    if not wanted:
        return {}
    part = _cut_out(model, wanted, makers)
    try:
        return dict(zip(sorted(wanted), open_graph(part).run({}, sorted(wanted)), strict=True))
    except ImportFault:
        return {}  # then these sizes stay as they are


def _cut_out(
    model: onnx.ModelProto, wanted: set[str], makers: Mapping[str, Any]
) -> onnx.ModelProto:
    """Return the model of these tensors alone, which has no inputs."""
    needed: set[str] = set()
    following = list(wanted)
    while following:
        name = following.pop()
        if name not in needed:
            needed.add(name)
            following += makers[name].input if name in makers else ()
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = "constants"
    part.graph.node.extend(node for node in model.graph.node if set(node.output) & needed)
    part.graph.initializer.extend(one for one in model.graph.initializer if one.name in needed)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted))
    return part


def _count_rows(model: onnx.ModelProto, graph: GraphEditor) -> str:
    """Return a tensor [1] with the number of rows of the input."""
    given = next(one for one in list_inputs(model) if len(one.type.tensor_type.shape.dim))
    shape = graph.add("Shape", given.name)
    return graph.add("Gather", shape, graph.constant(np.array([0], np.int64)), axis=0)


def _join_sizes(graph: GraphEditor, rows: str, rest: Any) -> str:
    sizes = graph.constant(np.asarray(rest, np.int64))
    return graph.add("Concat", rows, sizes, axis=0)


def _free_reshape(node: Any, constants: Constants, graph: GraphEditor) -> None:
    """Let a Reshape to a constant shape keep the rows."""
    if len(node.input) < 2 or node.input[0] in constants:  # 1: of old opsets
        return
    sizes = constants.get(node.input[1])
    if sizes is None or sizes.ndim != 1 or len(sizes) < 2:
        return
    freed = np.array(sizes, np.int64)
    if sizes[0] == 1:
        freed[0] = 0 if -1 in sizes else -1
    elif -1 not in sizes:
        freed[_find_rows(sizes)] = -1
    node.input[1] = graph.constant(freed)


def _find_rows(sizes: Array) -> int:
    """Return where the rows seem to be in a shape whose first size is not 1: at a 1, else where
    torch's MultiheadAttention has them, which goes from [L, N, E] to [L, N * heads, E / heads], and
    to [L * N, E].
    """
    single = np.flatnonzero(sizes == 1)
    return int(single[0]) if single.size else int(len(sizes) > 2)


def _free_expand(node: Any, constants: Constants, graph: GraphEditor, rows: str) -> None:
    """Let an Expand to [1, ...] expand to the rows, also of a constant."""
    sizes = constants.get(node.input[1])
    if sizes is not None and sizes.ndim == 1 and len(sizes) > 1 and sizes[0] == 1:
        if node.input[0] in constants:  # it may be made after the nodes that are added
            node.input[0] = graph.constant(constants[node.input[0]])
        node.input[1] = _join_sizes(graph, rows, sizes[1:])


def _repeat_constants(node: Any, constants: Constants, graph: GraphEditor, rows: str) -> None:
    """Repeat constants [1, ...] for every row where they are joined to rows."""
    known = [name in constants for name in node.input]
    if all(known) or read_attribute(node, "axis", 0) == 0:
        return
    for place, name in enumerate(node.input):
        value = constants.get(name)
        if value is not None and value.ndim > 1 and value.shape[0] == 1:
            sizes = _join_sizes(graph, rows, value.shape[1:])
            node.input[place] = graph.add("Expand", graph.constant(value), sizes)
