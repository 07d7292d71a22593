"""`sparing inspect`: what a model's file is, and what it would need to be served."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from importing.onnx_files.batching import PROOF_ROWS, Batchability, prove_batches
from importing.onnx_files.counting import count_macs
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import (
    FREE,
    Array,
    Tensor,
    count_parameters,
    open_graph,
    read_opset,
)
from importing.onnx_files.outputs import (
    CLASSIFIES,
    OutputGuess,
    OutputKind,
    choose_output,
    guess_from_parts,
)
from importing.onnx_files.reading import SourceModel, read_model
from importing.onnx_files.trial_rows import find_vocabulary, make_trial_rows

NO_SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType({})
MIN_SIDE_PX = 8  # below it, three dimensions are no picture
_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that was found."""

    path: Path
    size_bytes: int
    opset: int
    producer: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[OutputGuess, ...]
    batching: Batchability
    macs: int | None  # of one row; None where a size is free, or an operator cannot be counted
    macs_reason: str  # why it is None
    parameters: int
    vocabulary: Mapping[str, int]
    needs: tuple[str, ...]  # to be served, one sentence each

    @property
    def answer(self) -> OutputGuess:
        return choose_output(self.outputs)

    def as_json(self) -> dict[str, Any]:
        """Return the facts as JSON's types."""
        return {
            "file": str(self.path),
            "size_bytes": self.size_bytes,
            "opset": self.opset,
            "producer": self.producer,
            "inputs": [_as_json(tensor) for tensor in self.inputs],
            "outputs": [
                {**_as_json(one.tensor), "seems": one.kind.value, "because": one.reason}
                for one in self.outputs
            ],
            "batches": self.batching.batches,
            "batching": self.batching.reason,
            "macs": self.macs,
            "macs_unknown": self.macs_reason or None,
            "parameters": self.parameters,
            "vocabulary": dict(self.vocabulary),
            "needs": list(self.needs),
        }


def inspect_model(path: Path, shapes: Mapping[str, tuple[int, ...]] = NO_SHAPES) -> Inspection:
    """Read the file and run it on trial rows. `shapes` give the shape of one row for inputs whose
    sizes are free. Raises ImportFault.
    """
    source = read_model(path)
    _check_shapes(source, shapes)
    try:
        return _inspect(source, shapes)
    except ImportFault as fault:
        raise ImportFault(f"{path}: {fault}") from fault


def find_layout(tensor: Tensor) -> tuple[str, int, int, int] | None:
    """Return the layout (NCHW, NHWC, NHW) of a picture's tensor with its channels, height and
    width, FREE where they are free; None if the tensor is no picture by its shape.
    """
    shape = tensor.shape[1:]
    if tensor.datatype not in {"FP32", "FP16", "FP64", "UINT8"}:
        return None
    if len(shape) == 3 and shape[0] in _CHANNELS and _is_large(shape[1:]):
        return "NCHW", shape[0], shape[1], shape[2]
    if len(shape) == 3 and shape[2] in _CHANNELS and _is_large(shape[:2]):
        return "NHWC", shape[2], shape[0], shape[1]
    if len(shape) == 2 and tensor.datatype == "UINT8" and _is_large(shape):
        return "NHW", 1, shape[0], shape[1]
    return None


def _is_large(sides: tuple[int, ...]) -> bool:
    return all(side == FREE or side >= MIN_SIDE_PX for side in sides)


def _check_shapes(source: SourceModel, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in shapes:
        if name not in {tensor.name for tensor in source.graph.inputs}:
            names = ", ".join(str(tensor) for tensor in source.graph.inputs)
            raise ImportFault(f"{source.path}: --shape {name}: no such input; it has {names}")


def _inspect(source: SourceModel, shapes: Mapping[str, tuple[int, ...]]) -> Inspection:
    batching = prove_batches(source.proto, shapes=shapes)
    graph = open_graph(batching.model)
    vocabulary = find_vocabulary(source.proto)
    rows = make_trial_rows(graph.inputs, PROOF_ROWS, shapes=shapes, vocabulary=vocabulary)
    parts = [
        graph.run({name: array[i : i + 1] for name, array in rows.items()})
        for i in range(PROOF_ROWS)
    ]
    outputs = tuple(
        guess_from_parts(source.proto, tensor, values)
        for tensor, values in zip(graph.outputs, zip(*parts, strict=True), strict=True)
    )
    macs, reason = _count(batching, graph.inputs, rows, shapes)
    return Inspection(
        path=source.path,
        size_bytes=source.size_bytes,
        opset=read_opset(source.proto),
        producer=source.proto.producer_name or "unknown",
        inputs=source.graph.inputs,
        outputs=outputs,
        batching=batching,
        macs=macs,
        macs_reason=reason,
        parameters=count_parameters(source.proto),
        vocabulary=vocabulary,
        needs=_list_needs(graph.inputs, choose_output(outputs), batching, reason),
    )


def _count(
    batching: Batchability,
    inputs: tuple[Tensor, ...],
    rows: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[int | None, str]:
    free = [one for one in inputs if FREE in one.shape[1:] and one.name not in shapes]
    if free:
        sizes = ",".join("…" if size == FREE else str(size) for size in free[0].shape[1:])
        return None, f"sizes are free; give --shape {free[0].name}={sizes}"
    try:
        return count_macs(batching.model, {name: one[:1] for name, one in rows.items()}), ""
    except ImportFault as fault:
        return None, str(fault)


def _list_needs(
    inputs: tuple[Tensor, ...], answer: OutputGuess, batching: Batchability, uncounted: str
) -> tuple[str, ...]:
    needs = []
    layouts = [find_layout(tensor) for tensor in inputs]
    if len(inputs) == 1 and layouts[0] and inputs[0].datatype != "UINT8":
        needs.append(
            "if its input is a picture: its preprocessing, --preprocess auto with --data, or "
            "--preprocess mean=…,std=…; else --preprocess none"
        )
    if answer.kind in CLASSIFIES and answer.kind is not OutputKind.logits:
        needs.append(f"its {answer.kind.value} output becomes logits: import does it")
    elif answer.kind not in CLASSIFIES:
        needs.append(
            f"its output seems to be {answer.kind.value}: import makes a route of one model with "
            "its own outputs"
        )
    if batching.rewritten and batching.batches:
        needs.append("its batch of 1 becomes free: import does it")
    if not batching.batches:
        needs.append("it gets max_batch = 1, so it does not gain from batches")
    if uncounted:
        needs.append(f"its MACs: {uncounted}")
    return tuple(needs)


def _as_json(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
