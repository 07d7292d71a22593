"""Converts a reply to Open Inference Protocol tensors: declared outputs, and explanations by name.

Both endpoints use this module; each writes the tensors in its own form.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from core.datatypes import DATATYPES
from core.errors import InvalidInput, StageFailed
from core.manifest import Manifest
from core.messages import Answer, Reply
from serving.oip.tensors import Tensor, object_array, shorten


class OutputTensor(NamedTuple):
    """One output; its first dimension counts rows."""

    name: str
    datatype: str
    array: Tensor


class Explanation(NamedTuple):
    """A fact about an answer that any route returns when a request names it."""

    datatype: str
    read: Callable[[Answer], Any]  # anything that numpy can convert to the datatype


EXPLANATIONS: Mapping[str, Explanation] = {
    "confidence": Explanation("FP32", lambda answer: answer.outcome.confidence),
    "exit": Explanation("BYTES", lambda answer: answer.outcome.exit.encode()),
    "stopped_by": Explanation("BYTES", lambda answer: answer.stopped_by.encode()),
    "cached": Explanation("BOOL", lambda answer: answer.cached),
    "macs": Explanation("INT64", lambda answer: answer.macs),
    "energy_mj": Explanation(
        "FP32", lambda answer: np.nan if answer.energy_mj is None else answer.energy_mj
    ),
    "latency_ms": Explanation("FP32", lambda answer: answer.latency_s * 1e3),
}


def select_outputs(manifest: Manifest, requested: Sequence[object]) -> list[str]:
    """Return the names of the outputs to send: those requested, or all that the route declares."""
    declared = [spec.name for spec in manifest.outputs]
    if not requested:
        return declared
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
    answers = reply.answers
    tensors: list[OutputTensor] = []
    for name in names:
        datatype = declared.get(name)
        if datatype is None:
            fact = EXPLANATIONS[name]
            tensors.append(OutputTensor(name, fact.datatype, _explain(fact, answers)))
        else:
            array = _stack(name, [answer.outcome.outputs for answer in answers])
            if array.dtype != DATATYPES[datatype]:
                array = array.astype(DATATYPES[datatype])
            tensors.append(OutputTensor(name, datatype, array))
    return tensors


def response_parameters(reply: Reply) -> dict[str, str]:
    """Return the parameters that every response carries beside its outputs."""
    parameters = {
        "route": reply.route,
        "version": reply.version,
        "digest": reply.digest,
        "energy_source": reply.energy_source,
        "certificate": reply.certificate,
    }
    similar = similar_rows(reply)
    return {**parameters, "similar": similar} if similar else parameters


def similar_rows(reply: Reply) -> str:
    """Return the rows that got another picture's answer, as in "0,2"; often none."""
    marked = [place for place, answer in enumerate(reply.answers) if answer.similar]
    if not marked:
        return ""
    return ",".join([str(place if reply.rows is None else reply.rows[place]) for place in marked])


def _stack(name: str, rows: Sequence[Mapping[str, Any]]) -> Tensor:
    try:
        if len(rows) == 1:
            return np.asarray(rows[0][name])[None]
        return np.stack([row[name] for row in rows])
    except KeyError:
        raise StageFailed(f"the route answered without its declared output {name!r}") from None
    except ValueError:
        raise InvalidInput(
            f"outputs.{name}: its size differs from row to row, send one row in each request"
        ) from None


def _explain(fact: Explanation, answers: Sequence[Answer]) -> Tensor:
    values = [fact.read(answer) for answer in answers]
    if fact.datatype == "BYTES":
        return object_array(values)
    return np.array(values, dtype=DATATYPES[fact.datatype])
