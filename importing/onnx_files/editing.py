"""Edits of graphs: renaming tensors, nodes in front, nodes behind, a newer opset."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import (
    Array,
    list_graphs,
    list_inputs,
    make_unique,
    name_all,
    read_opset,
    shorten,
)


class GraphEditor:
    """Adds nodes and constants with names that are free to a model, which it changes."""

    def __init__(self, model: onnx.ModelProto, prefix: str) -> None:
        self._model = model
        self._names = name_all(model)
        self._prefix = prefix
        self.nodes: list[Any] = []  # in their order; the caller inserts them

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = output or self._name(kind.lower())
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: Any) -> str:  # a number or an array
        """Add an initializer and return its name."""
        array: Array = np.asarray(value)
        name = self._name("constant")
        self._model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def put_first(self) -> None:
        """Insert the nodes in front of all others."""
        for place, node in enumerate(self.nodes):
            self._model.graph.node.insert(place, node)

    def put_last(self) -> None:
        """Append the nodes."""
        self._model.graph.node.extend(self.nodes)

    def _name(self, kind: str) -> str:
        name = make_unique(self._names, f"{self._prefix}_{kind}")
        self._names.add(name)
        return name


def rename_tensor(model: onnx.ModelProto, old: str, new: str) -> None:
    """Give a tensor another name, in subgraphs too; a tensor that has the new name gets another."""
    if old == new:
        return
    names = name_all(model)
    if new in names:
        _rename(model, new, make_unique(names | {old}, f"{new}_inner"))
    _rename(model, old, new)


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for graph in list_graphs(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            if value.name == old:
                value.name = new
        for node in graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == old:
                        names[place] = new


def replace_input(
    model: onnx.ModelProto, old: str, name: str, kind: int, shape: tuple[int | str, ...]
) -> str:
    """Replace the model's input `old` by an input `name`; return the tensor that nodes in front
    must now make.
    """
    inner = old if old != name else make_unique(name_all(model), f"{old}_inner")
    if inner != old:
        _rename(model, old, inner)
    kept = [value for value in model.graph.input if value.name != inner]
    given = helper.make_tensor_value_info(name, kind, shape)
    del model.graph.input[:]
    model.graph.input.extend([given, *kept])
    if name in {tensor.name for tensor in model.graph.initializer} or _makes(model, name):
        _rename_made(model, name)
    return inner


def _makes(model: onnx.ModelProto, name: str) -> bool:
    return any(name in node.output for node in model.graph.node)


def _rename_made(model: onnx.ModelProto, name: str) -> None:
    """Rename an inner tensor that has the name of the new input."""
    given = model.graph.input[0]
    given.name = ""
    _rename(model, name, make_unique(name_all(model) | {name}, f"{name}_inner"))
    given.name = name


def replace_outputs(
    model: onnx.ModelProto, outputs: dict[str, tuple[int, tuple[int | str, ...]]]
) -> None:
    """Make these tensors, by name with type and shape, the model's only outputs."""
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()
    )


LEAST_OPSET = 13  # of the nodes that are added


def raise_opset(model: onnx.ModelProto, opset: int = LEAST_OPSET) -> onnx.ModelProto:
    """Return the model with at least this opset. Raises ImportFault if it cannot be converted."""
    if read_opset(model) >= opset:
        return model
    try:
        converted = version_converter.convert_version(model, opset)
    except Exception as error:  # onnx's own classes
        raise ImportFault(
            f"uses opset {read_opset(model)} and cannot be converted to {opset} "
            f"({shorten(error, 120)}); export it with opset_version={opset}"
        ) from error
    converted.ir_version = max(converted.ir_version, 8)
    return converted


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and initializers that no output needs, and old shapes."""
    needed = {value.name for value in model.graph.output}
    kept: list[Any] = []
    for node in reversed(model.graph.node):
        if any(name in needed for name in node.output):
            kept.append(node)
            needed.update(node.input)
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    needed.update(_list_outside_names(attribute.g))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    weights = [
        TensorProto.FromString(tensor.SerializeToString())
        for tensor in model.graph.initializer
        if tensor.name in needed
    ]
    filled = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in list_inputs(model)]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(weights)
    for place in reversed(range(len(model.graph.input))):
        name = model.graph.input[place].name
        if name in filled and name not in inputs:  # of old models: initializers listed as inputs
            del model.graph.input[place]


def _list_outside_names(graph: Any) -> Iterator[str]:
    for one in list_graphs(graph):
        for node in one.node:
            yield from node.input
        yield from (value.name for value in one.output)
