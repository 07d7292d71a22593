"""The int8 twin of a stage: ONNX Runtime's static quantisation, per channel, on the user's rows.

Weights become int8 and activations uint8, with QuantizeLinear and DequantizeLinear around the
operators. Weights use 7 of their 8 bits: CPUs without VNNI add up pairs of products in 16 bits,
which overflow with 8 bits, so that a file would lose accuracy on these CPUs alone. Where the twin
loses more accuracy than allowed, the first and the last quantised operator stay in float.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from importing.onnx_files.editing import raise_opset
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, Feed, copy_model, make_unique, open_graph, shorten
from importing.stage_files import INT8, QUANTISED, StageFile

CALIBRATION_ROWS = 320
CALIBRATION_BATCH = 16
OPERATORS = ("Conv", "Gemm", "MatMul")
# Quantised behind these, so that what an activation cuts off takes none of the 256 values.
ACTIVATIONS = ("Relu", "Clip")
SUFFIX = "-int8"


class _Rows(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime's class is untyped
    def __init__(self, rows: Feed, batch_rows: int) -> None:
        self._batches = self._cut(rows, batch_rows)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)

    @staticmethod
    def _cut(rows: Feed, batch_rows: int) -> Iterator[dict[str, Array]]:
        count = len(next(iter(rows.values())))
        for start in range(0, count, batch_rows):
            yield {name: array[start : start + batch_rows] for name, array in rows.items()}


def can_quantise(stage: StageFile) -> bool:
    """Whether the stage has operators that int8 makes faster."""
    model = onnx.ModelProto.FromString(stage.raw)
    kinds = {node.op_type for node in model.graph.node}
    return bool(kinds & set(OPERATORS)) and not kinds & QUANTISED


def quantise_stage(stage: StageFile, rows: Feed, *, kept: Sequence[str] = ()) -> StageFile:
    """Return the stage's int8 twin, calibrated on `rows`; nodes in `kept` stay in float.

    Names in `kept` are those of another twin of the stage: `find_outer_nodes`. Raises ImportFault
    if ONNX Runtime cannot quantise it, or the twin does not run.
    """
    count = min(CALIBRATION_ROWS, len(next(iter(rows.values()))))
    places = np.linspace(0, len(next(iter(rows.values()))) - 1, count).astype(int)
    chosen = {name: array[places] for name, array in rows.items()}
    model = raise_opset(onnx.ModelProto.FromString(stage.raw))
    reader = _Rows(chosen, CALIBRATION_BATCH if stage.batches else 1)
    try:
        quantised = _quantise(model, reader, list(kept))
    except Exception as error:  # ONNX Runtime's and onnx's own classes
        raise ImportFault(
            f"stage {stage.name} cannot be quantised: {shorten(error, 160)}"
        ) from error
    found = _list_quantised(quantised)
    if not found:
        raise ImportFault(f"stage {stage.name}: ONNX Runtime quantised none of its operators")
    if wrong := set(kept) & {node.name for node in found}:
        raise ImportFault(f"stage {stage.name}: {sorted(wrong)} were quantised all the same")
    graph = open_graph(quantised)
    graph.run({name: array[:1] for name, array in chosen.items()})
    return replace(
        stage,
        name=stage.name + SUFFIX,
        raw=quantised.SerializeToString(),
        outputs=graph.outputs,
        precision=INT8,
    )


def find_outer_nodes(twin: StageFile) -> list[str]:
    """Return the names of the first and the last operator that were quantised in a twin; nothing
    where without them nothing would be left.

    The names are those after ONNX Runtime's fusions, which rename operators (a MatMul and its Add
    become a Gemm), so only a twin has them.
    """
    names = [node.name for node in _list_quantised(onnx.ModelProto.FromString(twin.raw))]
    return [names[0], names[-1]] if len(names) > 2 else []


def _list_quantised(model: onnx.ModelProto) -> list[Any]:
    """Return the operators whose inputs were quantised, in the graph's order."""
    restored = {
        name
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        for name in node.output
    }
    return [
        node
        for node in model.graph.node
        if node.op_type in OPERATORS and set(node.input[:2]) <= restored
    ]


def _name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every node a name of its own, so that some can be left out."""
    named = copy_model(model)
    taken: set[str] = set()
    for place, node in enumerate(named.graph.node):
        node.name = make_unique(taken, node.name or f"{node.op_type}_{place}")
        taken.add(node.name)
    return named


def _quantise(model: onnx.ModelProto, reader: Any, kept: list[str]) -> onnx.ModelProto:
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it advises on the console
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, ready, made = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
            source.write_bytes(model.SerializeToString())
            quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
            onnx.save(_name_nodes(onnx.load(ready)), ready)  # its fusions make nodes and rename
            quantize_static(
                str(ready),
                str(made),
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=[*OPERATORS, *ACTIVATIONS],
                reduce_range=True,
                nodes_to_exclude=kept,
            )
            return onnx.load(made)
    finally:
        logging.getLogger().setLevel(level)
