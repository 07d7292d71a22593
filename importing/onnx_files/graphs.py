"""Small facts about ONNX graphs, and sessions of graphs that are in memory.

Everything here takes and returns `onnx.ModelProto`, whose classes have no types.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto

from core.datatypes import OF_ONNX
from importing.onnx_files.faults import ImportFault

Array = npt.NDArray[Any]
Feed = Mapping[str, Array]

FREE = -1


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: the protocol's datatype, and the shape, where FREE is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class RunnableGraph:
    """A graph in memory, opened in ONNX Runtime with one thread."""

    session: onnxruntime.InferenceSession
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def run(self, feed: Feed, outputs: Sequence[str] = ()) -> list[Array]:
        """Run the graph. Raises ImportFault with the runtime's own words."""
        names = list(outputs) or [tensor.name for tensor in self.outputs]
        try:
            found: list[Array] = self.session.run(names, dict(feed))
        except Exception as error:  # the runtime's classes share no root but Exception
            raise ImportFault(f"ONNX Runtime cannot run it: {shorten(error)}") from error
        return found


def open_graph(model: onnx.ModelProto, *, optimised: bool = True) -> RunnableGraph:
    """Open the model as the server would. Raises ImportFault."""
    return open_bytes(model.SerializeToString(), optimised=optimised)


def open_bytes(raw: bytes, *, optimised: bool = True) -> RunnableGraph:
    """Open a serialised model with one thread. Raises ImportFault."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ImportFault(f"ONNX Runtime cannot load it: {shorten(error)}") from error
    return RunnableGraph(
        session,
        tuple(_describe(node) for node in session.get_inputs()),
        tuple(_describe(node) for node in session.get_outputs()),
    )


def list_inputs(model: onnx.ModelProto) -> list[Any]:
    """Return the inputs that a caller gives: those that no initializer fills."""
    filled = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in filled]


def list_nodes(graph: onnx.GraphProto) -> Iterator[Any]:
    """List all nodes, those of subgraphs (If, Loop, Scan) included."""
    for node in graph.node:
        yield node
        yield from list_inner_nodes(node)


def list_inner_nodes(node: Any) -> Iterator[Any]:
    """List all nodes of the node's subgraphs."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield from list_nodes(attribute.g)
        for graph in attribute.graphs:
            yield from list_nodes(graph)


def list_graphs(graph: Any) -> Iterator[Any]:
    """List the graph and all subgraphs of its nodes (If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from list_graphs(attribute.g)
            for one in attribute.graphs:
                yield from list_graphs(one)


def list_tensors(model: onnx.ModelProto) -> Iterator[tuple[str, Any]]:
    """List every tensor that the model holds, with a name for messages: initializers, dense and
    sparse, and attributes of nodes such as Constant, in subgraphs and local functions too.
    """
    for graph in list_graphs(model.graph):
        yield from ((tensor.name, tensor) for tensor in graph.initializer)
        for sparse in graph.sparse_initializer:
            yield from ((sparse.values.name, part) for part in (sparse.values, sparse.indices))
        yield from _list_attributes(graph.node)
    for function in model.functions:
        for graph in list_graphs(function):
            yield from _list_attributes(graph.node)


def _list_attributes(nodes: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for node in nodes:
        name = node.output[0] if node.output else node.op_type
        for attribute in node.attribute:
            kinds = onnx.AttributeProto
            if attribute.type == kinds.TENSOR:
                yield name, attribute.t
            elif attribute.type == kinds.SPARSE_TENSOR:
                yield name, attribute.sparse_tensor.values
                yield name, attribute.sparse_tensor.indices
            yield from ((name, tensor) for tensor in attribute.tensors)


def find_producer(model: onnx.ModelProto, name: str) -> Any | None:
    """Return the node that makes this tensor; None for an input or initializer."""
    for node in model.graph.node:
        if name in node.output:
            return node
    return None


def read_attribute(node: Any, name: str, default: Any) -> Any:
    """Return an attribute's value, or the default where the node does not set it."""
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return default


def read_opset(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that the model uses."""
    versions = [one.version for one in model.opset_import if one.domain in {"", "ai.onnx"}]
    return max(versions, default=0)


def copy_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that may be changed."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def count_parameters(model: onnx.ModelProto) -> int:
    """Count the numbers in initializers and in constants of floats with more than one element."""
    weights = sum(_size(tensor.dims) for tensor in model.graph.initializer if is_float(tensor))
    constants = [
        read_attribute(node, "value", None)
        for node in list_nodes(model.graph)
        if node.op_type == "Constant"
    ]
    held = [one for one in constants if isinstance(one, TensorProto) and is_float(one)]
    return weights + sum(size for one in held if (size := _size(one.dims)) > 1)


def is_float(tensor: Any) -> bool:
    """Whether an initializer holds floats, or weights stored as 8-bit integers."""
    return tensor.data_type in {
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.INT8,
        TensorProto.UINT8,
    }


def shorten(error: object, limit: int = 300) -> str:
    """Return the first line of a message, cut to `limit` characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def make_unique(taken: Iterable[str], name: str) -> str:
    """Return the name, with a number where it is taken."""
    names, found, number = set(taken), name, 1
    while found in names:
        found, number = f"{name}_{number}", number + 1
    return found


def name_all(model: onnx.ModelProto) -> set[str]:
    """Return every name of a tensor in the graph."""
    graph = model.graph
    names: set[str] = set()
    for values in (graph.input, graph.output, graph.initializer):
        names.update(value.name for value in values)
    for node in list_nodes(graph):
        names.update(node.input)
        names.update(node.output)
    return names


def _describe(node: Any) -> Tensor:  # onnxruntime's NodeArg
    shape = node.shape if isinstance(node.shape, list | tuple) else []
    return Tensor(
        node.name,
        OF_ONNX.get(node.type, node.type),
        tuple(size if isinstance(size, int) and size > 0 else FREE for size in shape),
    )


def _size(dims: Iterable[int]) -> int:
    size = 1
    for one in dims:
        size *= one
    return size
