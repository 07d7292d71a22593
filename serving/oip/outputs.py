"""Converts a reply to Open Inference Protocol tensors: declared outputs, and explanations by name.

Both endpoints use this module; each writes the tensors in its own form.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from core.columns import take_rows
from core.datatypes import DATATYPES
from core.errors import InvalidInput, StageFailed
from core.manifest import Manifest
from core.messages import Reply, RowAnswers
from serving.oip.tensors import Tensor, shorten


class OutputTensor(NamedTuple):
    """One output; its first dimension counts rows."""

    name: str
    datatype: str
    array: Tensor


class Explanation(NamedTuple):
    """A fact about answers that any route returns when a request names it."""

    datatype: str
    read: Callable[[RowAnswers], Any]  # one value per row, or one for all


def _read_exits(part: RowAnswers) -> Any:
    outcomes = part.outcomes
    if isinstance(outcomes.exits, int):
        return outcomes.exit(0).encode()
    names = np.array([name.encode() for name in outcomes.names], dtype=object)
    return names[outcomes.exits[list(part.at)]]


EXPLANATIONS: Mapping[str, Explanation] = {
    "confidence": Explanation("FP32", lambda part: part.outcomes.confidence[list(part.at)]),
    "exit": Explanation("BYTES", _read_exits),
    "stopped_by": Explanation("BYTES", lambda part: part.stopped_by.encode()),
    "cached": Explanation("BOOL", lambda part: part.cached),
    "macs": Explanation("INT64", lambda part: part.macs),
    "energy_mj": Explanation(
        "FP32", lambda part: np.nan if part.energy_mj is None else part.energy_mj
    ),
    "latency_ms": Explanation("FP32", lambda part: part.latency_s * 1e3),
}


def select_outputs(manifest: Manifest, requested: Sequence[object]) -> list[str]:
    """Return the names of the outputs to send: those requested, or all that the route declares but
    those which it sends only on request.
    """
    declared = [spec.name for spec in manifest.outputs]
    if not requested:
        return [spec.name for spec in manifest.outputs if not spec.on_request]
    names: list[str] = []
    for name in requested:
        if not isinstance(name, str) or (name not in declared and name not in EXPLANATIONS):
            raise InvalidInput(
                f"outputs: given {shorten(name)}, route {manifest.route} has"
                f" {declared + [one for one in EXPLANATIONS if one not in declared]}"
            )
        if name in names:
            raise InvalidInput(f"outputs: given {name!r} twice, allowed once")
        names.append(name)
    return names


def output_tensors(reply: Reply, manifest: Manifest, names: Sequence[str]) -> list[OutputTensor]:
    """Return the named outputs of all rows of a reply, in the order of `names`."""
    declared = {spec.name: spec.datatype for spec in manifest.outputs}
    tensors: list[OutputTensor] = []
    for name in names:
        datatype = declared.get(name)
        if datatype is None:
            fact = EXPLANATIONS[name]
            tensors.append(OutputTensor(name, fact.datatype, _explain(fact, reply)))
        else:
            array = gather_output(reply, name)
            if array.dtype != DATATYPES[datatype]:
                array = array.astype(DATATYPES[datatype])
            tensors.append(OutputTensor(name, datatype, array))
    return tensors


def gather_output(reply: Reply, name: str) -> Tensor:
    """Return one output [N, ...] of all rows of a reply, contiguous.

    Raises StageFailed without the output, InvalidInput if its size differs from row to row.
    """
    parts = reply.parts
    columns = [_take(part, name) for part in parts]
    if len(parts) == 1:
        return columns[0]
    if len({column.shape[1:] for column in columns}) > 1:
        raise _refuse_sizes(name)
    shape = (reply.row_count, *columns[0].shape[1:])
    gathered = np.empty(shape, np.result_type(*columns))
    for part, column in zip(parts, columns, strict=True):
        gathered[part.rows if isinstance(part.rows, list) else list(part.rows)] = column
    return gathered


def response_parameters(reply: Reply) -> dict[str, str]:
    """Return the parameters that every response carries beside its outputs."""
    parameters = {
        "route": reply.route,
        "version": reply.version,
        "digest": reply.digest,
        "energy_source": reply.energy_source,
        "certificate": reply.certificate,
    }
    if similar := similar_rows(reply):
        parameters["similar"] = similar
    if reply.errors:
        parameters["errors"] = json.dumps({str(row): reply.errors[row] for row in reply.errors})
    return parameters


def similar_rows(reply: Reply) -> str:
    """Return the rows that got another picture's answer, as in "0,2"; often none."""
    marked = [row for part in reply.parts if part.similar for row in part.rows]
    return ",".join([str(row) for row in sorted(marked)]) if marked else ""


def _take(part: RowAnswers, name: str) -> Tensor:
    """Return one output of a part's rows."""
    column = part.outcomes.outputs.get(name)
    if column is None:
        raise _refuse_missing(name)
    at = part.at
    if isinstance(column, np.ndarray):
        return np.ascontiguousarray(take_rows(column, at))
    rows = [column[place] for place in at]
    if any(row is None for row in rows):
        raise _refuse_missing(name)
    try:
        return np.stack(rows)
    except ValueError:
        raise _refuse_sizes(name) from None


def _refuse_missing(name: str) -> StageFailed:
    return StageFailed(f"the route answered without its declared output {name!r}")


def _refuse_sizes(name: str) -> InvalidInput:
    return InvalidInput(
        f"outputs.{name}: its size differs from row to row, send one row in each request"
    )


def _explain(fact: Explanation, reply: Reply) -> Tensor:
    datatype = np.dtype(object) if fact.datatype == "BYTES" else DATATYPES[fact.datatype]
    values = np.empty(reply.row_count, datatype)
    for part in reply.parts:
        place: Any = slice(None) if len(reply.parts) == 1 else list(part.rows)
        values[place] = fact.read(part)
    return values
