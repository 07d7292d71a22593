"""Which outputs differ in size with what a row holds, as a list of boxes does.

Values of the inputs are followed through the graph; sizes, as Shape gives them, are no values. What
it finds is a suspicion: an operator may make one size of many again.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import onnx
from onnx import inliner

from importing.onnx_files.graphs import list_inner_nodes, list_inputs

# Operators whose outputs' sizes depend on values.
_SIZED_BY_VALUES = frozenset(
    {"Compress", "Loop", "NonMaxSuppression", "NonZero", "StringSplit", "Unique"}
)
# Inputs that give a size, by operator.
_SIZE_INPUTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "ConstantOfShape": (0,),
        "Expand": (1,),
        "If": (0,),  # of its branches, which may differ in size
        "OneHot": (1,),
        "Pad": (1,),
        "Range": (0, 1, 2),
        "Reshape": (1,),
        "Resize": (2, 3),
        "Slice": (1, 2, 3, 4),
        "Split": (1,),
        "Tile": (1,),
        "TopK": (1,),
        "Upsample": (1,),
    }
)


def find_content_sized(model: onnx.ModelProto) -> set[str]:
    """Return the outputs whose size may depend on the values of the inputs."""
    flat = inliner.inline_local_functions(model) if model.functions else model
    valued = {value.name for value in list_inputs(flat)}
    sized: set[str] = set()
    for node in flat.graph.node:
        taken = _list_taken(node)
        if node.op_type in {"Shape", "Size"}:
            if taken & sized:
                valued.update(node.output)
            continue
        if taken & sized or (taken & valued and _is_sized(node, valued)):
            sized.update(node.output)
        if taken & (valued | sized):
            valued.update(node.output)
    return {value.name for value in flat.graph.output} & sized


def _is_sized(node: Any, valued: set[str]) -> bool:
    inner = {one.op_type for one in list_inner_nodes(node)}
    if {node.op_type, *inner} & _SIZED_BY_VALUES:
        return True
    places = _SIZE_INPUTS.get(node.op_type, ())
    return any(node.input[place] in valued for place in places if place < len(node.input))


def _list_taken(node: Any) -> set[str]:
    """List the tensors that a node takes, those of its subgraphs included."""
    return {*node.input, *(name for inner in list_inner_nodes(node) for name in inner.input)}
