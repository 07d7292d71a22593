"""Reads a trained model's file; what cannot be served is refused with the sentence that helps.

Nothing is ever unpickled: a file that needs it is refused, with the call that exports it to ONNX.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, numpy_helper

from core.files import open_regular
from importing.onnx_files.exports import EXPORTS, KERAS, SAVED_MODEL, SKLEARN, TORCH
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import (
    RunnableGraph,
    list_inputs,
    list_nodes,
    list_tensors,
    open_graph,
    read_attribute,
    read_opset,
    shorten,
)

MAX_BYTES = 2**31 - 1  # of one protocol buffer

_MAGIC = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes it", TORCH),
    (b"\x80", "a pickle, which can run any code when it is read", f"{TORCH}, or {SKLEARN}"),
    (b"\x89HDF", "an HDF5 file", KERAS),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file with git lfs pull"),
)
_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial"}
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.preview.training"}


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A model's file as it was given, complete and opened."""

    path: Path
    proto: onnx.ModelProto  # external data read in
    graph: RunnableGraph
    size_bytes: int  # with external data


def read_model(path: Path) -> SourceModel:
    """Read, check and open a model. Raises ImportFault, one sentence that names the file."""
    try:
        return _read(path)
    except ImportFault as fault:
        raise ImportFault(f"{path}: {fault}") from fault
    except OSError as error:
        raise ImportFault(f"{path}: {error.strerror or error}") from error


def _read(path: Path) -> SourceModel:
    if mend := EXPORTS.get(path.suffix.lower()):
        raise ImportFault(f"{path.suffix} files are not served: {mend}")
    if path.is_dir():
        raise ImportFault(f"is a directory; give the file of an ONNX model, or {SAVED_MODEL}")
    with open_regular(path) as file:
        raw = file.read(MAX_BYTES + 1)
    if not raw:
        raise ImportFault("is empty")
    for magic, what, mend in _MAGIC:
        if raw.startswith(magic):
            raise ImportFault(f"is {what}, not an ONNX model: {mend}")
    if len(raw) > MAX_BYTES:
        raise ImportFault(f"is larger than {MAX_BYTES} bytes, which ONNX Runtime cannot open")
    proto = _parse(raw)
    size_bytes = len(raw) + _read_external_data(proto, path.absolute().parent)
    check_graph(proto)
    return SourceModel(path, proto, open_graph(proto), size_bytes)


def check_graph(proto: onnx.ModelProto) -> None:
    """Check what can be checked before the runtime opens the model. Raises ImportFault."""
    if not list_inputs(proto):
        raise ImportFault("has no inputs")
    if not proto.graph.output:
        raise ImportFault("has no outputs")
    _check_operators(proto)
    _check_values(proto)
    _check_weights(proto)


def _parse(raw: bytes) -> onnx.ModelProto:
    try:
        proto = onnx.ModelProto()
        proto.ParseFromString(raw)
    except Exception as error:  # protobuf's own class
        raise ImportFault("is truncated, damaged or not an ONNX model; copy it anew") from error
    if not proto.graph.node:
        raise ImportFault("holds no graph: it is truncated, or not an ONNX model")
    return proto


def _read_external_data(proto: onnx.ModelProto, folder: Path) -> int:
    """Read weights that stand in files beside the model; return their bytes."""
    read_bytes = 0
    for _, tensor in list_tensors(proto):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        place = folder / facts.get("location", "")
        if place.resolve().parent != folder.resolve():
            raise ImportFault(
                f"its weights stand in {facts.get('location')!r}, outside the model's folder; "
                "move them beside it"
            )
        if not place.is_file():
            raise ImportFault(f"its weights stand in {place.name}, which is not beside it")
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
            numpy_helper.to_array(tensor)
        except Exception as error:  # onnx's and numpy's own
            raise ImportFault(f"its weights in {place.name} are incomplete") from error
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
        read_bytes += tensor.ByteSize()
    if proto.ByteSize() > MAX_BYTES:
        raise ImportFault(f"has more than {MAX_BYTES} bytes with its weights")
    return read_bytes


def _check_operators(proto: onnx.ModelProto) -> None:
    known, found = onnx.defs.onnx_opset_version(), read_opset(proto)
    if found > known:
        raise ImportFault(
            f"uses opset {found}, this installation knows up to {known}; export it with "
            f"opset_version={min(known, 20)}"
        )
    local = {function.domain for function in proto.functions}
    graphs: list[Any] = [proto.graph, *proto.functions]  # a function has nodes as a graph has
    for node in (node for graph in graphs for node in list_nodes(graph)):
        if node.domain not in _DOMAINS | local:
            raise ImportFault(
                f"uses the operator {node.op_type} of {node.domain!r}, which ONNX Runtime does "
                "not have; export it without custom operators"
            )
        if node.op_type in _RANDOM:
            raise ImportFault(f"draws random numbers ({node.op_type}); export it in eval mode")
        if node.op_type == "BatchNormalization" and read_attribute(node, "training_mode", 0):
            raise ImportFault("is in training mode (BatchNormalization); export it in eval mode")


def _check_values(proto: onnx.ModelProto) -> None:
    for value in (*list_inputs(proto), *proto.graph.output):
        kind = value.type.WhichOneof("value")
        if kind not in {"tensor_type", None}:
            mend = SKLEARN if kind in {"sequence_type", "map_type"} else "return plain tensors"
            raise ImportFault(
                f"{value.name} is no tensor but a {kind.removesuffix('_type')}: {mend}"
            )


def _check_weights(proto: onnx.ModelProto) -> None:
    for name, tensor in list_tensors(proto):
        if tensor.data_type not in {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}:
            continue
        try:
            values: Any = numpy_helper.to_array(tensor)
        except Exception as error:  # onnx raises ValueError or its own classes
            raise ImportFault(f"weight {name} is incomplete: {shorten(error)}") from error
        # Infinities stand in masks of attention, so only NaN is wrong for sure.
        if np.isnan(values).any():
            raise ImportFault(f"weight {name} holds NaN; the training diverged")
