"""Rows to try a model with, made from its inputs' types and shapes alone."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx

from core.datatypes import DATATYPES
from importing.onnx_files.graphs import FREE, Array, Tensor, list_nodes

NO_SIZES: Mapping[str, tuple[int, ...]] = MappingProxyType({})
_TRIED_IDS = 16  # values of a whole number's input whose vocabulary is not known


def make_trial_rows(
    inputs: Sequence[Tensor],
    rows: int,
    *,
    seed: int = 0,
    shapes: Mapping[str, tuple[int, ...]] = NO_SIZES,
    vocabulary: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Array]:
    """Make `rows` different rows for every input. `shapes` give the shape of one row where the
    model leaves it free; a size that is still free becomes 8. `vocabulary` limits whole numbers.
    """
    rng = np.random.default_rng(seed)
    return {
        tensor.name: _make(
            tensor,
            (rows, *shapes.get(tensor.name, tensor.shape[1:])) if tensor.shape else (),
            rng,
            vocabulary.get(tensor.name, _TRIED_IDS),
        )
        for tensor in inputs
    }


def find_vocabulary(model: onnx.ModelProto) -> dict[str, int]:
    """Return the number of allowed values of each input that indexes a table of weights."""
    tables = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    sources = {value.name: value.name for value in model.graph.input}
    found: dict[str, int] = {}
    for node in list_nodes(model.graph):
        if node.op_type in {"Cast", "Identity", "Unsqueeze", "Squeeze"} and node.input:
            sources[node.output[0]] = sources.get(node.input[0], "")
        if node.op_type == "Gather" and node.input[0] in tables:
            source = sources.get(node.input[1], "")
            if source:
                found[source] = min(found.get(source, 2**62), tables[node.input[0]])
    return found


def _make_mask(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return ones; of texts [N, L], each row ends one place sooner than the one before."""
    mask = np.ones(shape, dtype)
    if len(shape) == 2 and shape[1] > 1:
        for row in range(shape[0]):
            mask[row, shape[1] - row % ((shape[1] + 1) // 2) :] = 0
    return mask


def _make(tensor: Tensor, shape: tuple[int, ...], rng: Any, ids: int) -> Array:
    shape = tuple(8 if size == FREE else size for size in shape)
    name = tensor.name.lower()
    if tensor.datatype == "BYTES":
        return np.full(shape, "text", dtype=object)
    dtype = DATATYPES[tensor.datatype]
    if tensor.datatype == "BOOL" or "mask" in name:
        return _make_mask(shape, dtype)
    if tensor.datatype == "UINT8":
        return np.asarray(rng.integers(0, 256, shape, dtype=np.uint8))
    if tensor.datatype.startswith("FP"):
        return np.asarray(rng.standard_normal(shape).astype(dtype))
    if "type" in name or "segment" in name:
        return np.zeros(shape, dtype)
    return np.asarray(rng.integers(0, max(1, ids), shape).astype(dtype))
