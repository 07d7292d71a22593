"""Stages: a model as it was given becomes one ONNX file that takes the route's inputs and returns
`logits`, or its own outputs.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx

from core.datatypes import DATATYPES
from importing.onnx_files.batching import PROOF_ROWS, Batchability, prove_batches
from importing.onnx_files.counting import count_macs
from importing.onnx_files.editing import raise_opset, rename_tensor
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import (
    FREE,
    Array,
    Feed,
    RunnableGraph,
    Tensor,
    copy_model,
    count_parameters,
    open_bytes,
    open_graph,
)
from importing.onnx_files.heads import put_logits_behind
from importing.onnx_files.inspection import find_layout
from importing.onnx_files.outputs import OutputGuess, OutputKind, guess_from_parts
from importing.onnx_files.reading import SourceModel
from importing.onnx_files.trial_rows import find_vocabulary, make_trial_rows
from importing.pictures.picture_nodes import Canvas, PictureInput, put_pictures_in_front
from importing.pictures.preprocessing import Preprocessing

IMAGE = "image"
THREADS = min(8, os.cpu_count() or 1)  # each holds what a batch needs
FLOAT32, INT8 = "float32", "int8"  # precisions
QUANTISED = frozenset(  # operators of models that are int8 already
    {"QuantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger"}
)
BATCH_ROWS = 32
SAMPLE_PROOF_ROWS = 32  # of the user's data, from all of it: folders are sorted by class
NO_SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StageFile:
    """A stage: its file's bytes, and what was found while it was made."""

    name: str
    raw: bytes
    inputs: tuple[Tensor, ...]  # the route's
    outputs: tuple[Tensor, ...]
    macs: int
    parameters: int
    batches: bool
    batching: str
    notes: tuple[str, ...]
    precision: str = FLOAT32

    def open(self) -> RunnableGraph:
        return open_bytes(self.raw)


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model with a proven batch and guessed outputs, before anything stands in front of it."""

    name: str
    source: SourceModel
    model: onnx.ModelProto
    batching: Batchability
    inputs: tuple[Tensor, ...]
    outputs: tuple[OutputGuess, ...]
    vocabulary: Mapping[str, int]
    picture: PictureInput | None  # its input, if its shape is a picture's

    @property
    def has_floats(self) -> bool:
        """Whether it takes one tensor of floats, which may be pictures."""
        return len(self.inputs) == 1 and self.inputs[0].datatype.startswith("FP")


def prepare_model(
    name: str,
    source: SourceModel,
    shapes: Mapping[str, tuple[int, ...]] = NO_SHAPES,
    input_name: str | None = None,
) -> PreparedModel:
    """Prove the batch and guess the outputs. Raises ImportFault, which names the file."""
    try:
        return _prepare(name, source, shapes, input_name)
    except ImportFault as fault:
        raise ImportFault(f"{source.path}: {fault}") from fault


def _prepare(
    name: str,
    source: SourceModel,
    shapes: Mapping[str, tuple[int, ...]],
    input_name: str | None,
) -> PreparedModel:
    batching = prove_batches(source.proto, shapes=shapes)
    graph = open_graph(batching.model)
    names = [tensor.name for tensor in graph.inputs]
    if input_name is not None and names != [input_name]:
        raise ImportFault(f"input={input_name}: the model takes {', '.join(names)}")
    vocabulary = find_vocabulary(source.proto)
    rows = make_trial_rows(graph.inputs, PROOF_ROWS, shapes=shapes, vocabulary=vocabulary)
    values = _run_parts(graph, rows, BATCH_ROWS if batching.batches else 1)
    outputs = tuple(
        guess_from_parts(source.proto, tensor, parts)
        for tensor, parts in zip(graph.outputs, values, strict=True)
    )
    picture = None
    if len(graph.inputs) == 1 and (layout := find_layout(graph.inputs[0])):
        picture = PictureInput(graph.inputs[0], *layout)
    return PreparedModel(
        name, source, batching.model, batching, graph.inputs, outputs, vocabulary, picture
    )


def make_picture_stage(
    prepared: PreparedModel, canvas: Canvas, steps: Preprocessing | None
) -> onnx.ModelProto:
    """Return the model with the route's picture input; `steps` None: it takes bytes itself."""
    assert prepared.picture is not None, "the caller checked"
    if steps is None and prepared.inputs[0].datatype == "UINT8":
        steps = Preprocessing(scale=1.0)
    assert steps is not None, "a float input of pictures has steps"
    try:
        return put_pictures_in_front(prepared.model, prepared.picture, canvas, steps, IMAGE)
    except ImportFault as fault:
        raise ImportFault(f"{prepared.source.path}: {fault}") from fault


def rename_inputs(prepared: PreparedModel, wanted: tuple[Tensor, ...]) -> onnx.ModelProto:
    """Return the model with the route's names of inputs. Raises ImportFault if they do not fit."""
    changed = raise_opset(copy_model(prepared.model))
    pairs = match_inputs(prepared, wanted)
    for place, (own, _) in enumerate(pairs):
        rename_tensor(changed, own.name, f"sparing_input_{place}")
    for place, (_, given) in enumerate(pairs):
        rename_tensor(changed, f"sparing_input_{place}", given.name)
    by_name = {value.name: value for value in changed.graph.input}
    for _, given in pairs:  # in the route's shape, so that all stages declare the same
        dims = by_name[given.name].type.tensor_type.shape.dim
        for place, size in enumerate(given.shape):
            if size == FREE and not dims[place].dim_param:
                dims[place].Clear()
                dims[place].dim_param = f"{given.name}_{place}"
    return changed


def match_inputs(prepared: PreparedModel, wanted: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Pair the model's inputs with the route's. Raises ImportFault if they do not fit."""
    names = {tensor.name for tensor in wanted}
    own = {tensor.name: tensor for tensor in prepared.inputs}
    if len(own) == 1 and len(names) == 1:
        pairs = [(prepared.inputs[0], wanted[0])]
    elif set(own) == names:
        pairs = [(own[tensor.name], tensor) for tensor in wanted]
    else:
        raise ImportFault(
            f"{prepared.source.path}: takes {', '.join(own)}, the first stage {', '.join(names)}"
        )
    for mine, given in pairs:
        if mine.datatype != given.datatype or len(mine.shape) != len(given.shape):
            raise ImportFault(f"{prepared.source.path}: takes {mine}, the first stage {given}")
        for left, right in zip(mine.shape[1:], given.shape[1:], strict=True):
            if FREE not in (left, right) and left != right:
                raise ImportFault(f"{prepared.source.path}: takes {mine}, the first stage {given}")
    return pairs


def finish_classifier(
    prepared: PreparedModel,
    model: onnx.ModelProto,
    answer: OutputGuess,
    kind: OutputKind,
    classes: int,
    sample: Feed,
) -> StageFile:
    """Put the logits behind the model, and check the whole by running `sample`."""
    try:
        return _finish(prepared, put_logits_behind(model, answer, kind, classes), sample)
    except ImportFault as fault:
        raise ImportFault(f"{prepared.source.path}: {fault}") from fault


def finish_outputs(prepared: PreparedModel, model: onnx.ModelProto, sample: Feed) -> StageFile:
    """Keep the model's own outputs, under names that the protocol allows."""
    changed = copy_model(model)
    for value in list(changed.graph.output):
        tidy = tidy_name(value.name)
        if tidy != value.name:
            rename_tensor(changed, value.name, tidy)
    try:
        return _finish(prepared, changed, sample)
    except ImportFault as fault:
        raise ImportFault(f"{prepared.source.path}: {fault}") from fault


def _finish(prepared: PreparedModel, model: onnx.ModelProto, sample: Feed) -> StageFile:
    del model.graph.value_info[:]
    graph = open_graph(model)
    one = {name: rows[:1] for name, rows in sample.items()}
    batching = prepared.batching
    count = len(next(iter(sample.values())))
    places = np.unique(np.linspace(0, count - 1, SAMPLE_PROOF_ROWS).astype(int))
    proof = {name: rows[places] for name, rows in sample.items()}
    if batching.batches:
        batching = replace(prove_batches(model, proof), rewritten=batching.rewritten)
    if not batching.batches:
        _check_rows(graph, proof)
    notes: tuple[str, ...] = ()
    if batching.rewritten or not batching.batches:
        notes = ((prepared.batching if batching.batches else batching).reason,)
    return StageFile(
        name=prepared.name,
        raw=model.SerializeToString(),
        inputs=graph.inputs,
        outputs=graph.outputs,
        macs=count_macs(model, one),
        parameters=count_parameters(model),
        batches=batching.batches,
        batching=batching.reason,
        notes=notes,
        precision=INT8 if any(node.op_type in QUANTISED for node in model.graph.node) else FLOAT32,
    )


def _check_rows(graph: RunnableGraph, rows: Feed) -> None:
    """Check that every output of a row alone is one row."""
    for tensor, parts in zip(graph.outputs, _run_parts(graph, rows, 1), strict=True):
        for part in parts:
            if part.shape[:1] != (1,):
                raise ImportFault(
                    f"output {tensor.name} of one row is {list(part.shape)}, and its first "
                    "dimension must count rows; export it with a row in front, as boxes[None]"
                )


def tidy_name(name: str) -> str:
    """Return a name that the protocol allows."""
    kept = "".join(
        one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in name
    )
    return (kept if kept[:1].isalnum() else f"t{kept}")[:128]


def run_rows(
    graph: RunnableGraph, rows: Feed, *, batches: bool, batch_rows: int = BATCH_ROWS
) -> list[Array]:
    """Run all rows in batches and return every output [N, ...].

    Raises ImportFault if an output differs in size from row to row.
    """
    joined = []
    for tensor, parts in zip(
        graph.outputs, _run_parts(graph, rows, batch_rows if batches else 1), strict=True
    ):
        if len({part.shape[1:] for part in parts}) > 1:
            raise ImportFault(f"output {tensor.name} differs in size from row to row")
        joined.append(np.concatenate(parts))
    return joined


def _run_parts(graph: RunnableGraph, rows: Feed, step: int) -> list[tuple[Array, ...]]:
    """Run `step` rows at once and return the parts of every output. Every core runs its own batch,
    for a session has one thread.
    """
    count = len(next(iter(rows.values())))
    feeds = [
        {name: array[i : i + step] for name, array in rows.items()} for i in range(0, count, step)
    ]
    with ThreadPoolExecutor(THREADS) as threads:
        runs = list(threads.map(graph.run, feeds))
    return list(zip(*runs, strict=True))


def cast_rows(
    inputs: tuple[Tensor, ...], rows: Mapping[str, Array], place: str
) -> dict[str, Array]:
    """Give rows the names and types of the inputs. Raises ImportFault if the shapes differ."""
    if len(inputs) == 1 and len(rows) == 1:
        rows = {inputs[0].name: next(iter(rows.values()))}
    missing = [tensor.name for tensor in inputs if tensor.name not in rows]
    if missing:
        raise ImportFault(
            f"{place}: has no rows for the input {missing[0]}; it holds {', '.join(rows)}"
        )
    cast: dict[str, Array] = {}
    for tensor in inputs:
        array = rows[tensor.name]
        if len(array.shape) != len(tensor.shape) or any(
            FREE != size != given
            for size, given in zip(tensor.shape[1:], array.shape[1:], strict=True)
        ):
            raise ImportFault(f"{place}: rows are {list(array.shape)}, the model takes {tensor}")
        cast[tensor.name] = _cast(array, tensor, place)
    return cast


def _cast(array: Array, tensor: Tensor, place: str) -> Array:
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None or dtype == array.dtype:
        return array
    if np.issubdtype(array.dtype, np.floating) and not np.issubdtype(dtype, np.floating):
        raise ImportFault(f"{place}: rows are {array.dtype}, the model takes {tensor}")
    return array.astype(dtype)


def describe_stage(
    stage: StageFile, max_batch: int, other: StageFile | None = None
) -> dict[str, Any]:
    """Return the entry in route.toml of one file, or of a float and an int8 file together."""
    int8, float32 = sorted((stage, other or stage), key=lambda one: one.precision != INT8)
    return {
        "name": float32.name,
        "file": f"{float32.name}.onnx",
        **({"int8_file": f"{int8.name}.onnx"} if other else {}),
        "macs": stage.macs,
        "max_batch": max_batch,
    }


def describe_tensor(tensor: Tensor) -> dict[str, Any]:
    """Return the tensor's entry in route.toml."""
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
