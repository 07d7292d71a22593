"""The Open Inference Protocol over HTTP: JSON and the binary tensor extension, both ways.

A body is JSON. If `Inference-Header-Content-Length` gives the length of the JSON, the bytes of the
inputs follow it in order. `serving.oip.tensors` has the checks, `json_data` the forms of JSON data,
`serving.http.infer.endpoint` the requests around it.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from core.errors import InvalidInput
from core.manifest import Manifest
from core.messages import Reply, Request
from serving.http.infer.json_data import read_data, write_data
from serving.http.infer.json_large import LARGE_BYTES, read_large
from serving.http.infer.json_numbers import NumberText, read_numbers
from serving.oip.outputs import (
    EXPLANATIONS,
    OutputTensor,
    output_tensors,
    response_parameters,
    select_outputs,
)
from serving.oip.tensor_parameters import check_tensor_parameters
from serving.oip.tensors import (
    Tensor,
    check_count,
    check_declared,
    check_id,
    check_rows,
    input_spec,
    pack_bytes,
    read_parameters,
    shorten,
    tensor_from_raw,
)

Headers = list[tuple[bytes, bytes]]
JsonObject = dict[str, Any]  # a JSON object from orjson

JSON_TYPE = (b"content-type", b"application/json")
BINARY_TYPE = (b"content-type", b"application/octet-stream")
_NOTHING: JsonObject = {}
_LENGTH = "Inference-Header-Content-Length"


class ParsedRequest(NamedTuple):
    """One call of the infer endpoint: the engine's request, and how to write its answer."""

    request: Request
    id: str
    names: Sequence[str]
    binary: Sequence[str]  # the names that are sent as bytes after the JSON
    timeout_s: float | None = None  # the source of the request's deadline


def read_request(
    body: bytes,
    header_length: bytes | None,
    manifest: Manifest,
    route: str,
    version: str | None,
) -> ParsedRequest:
    """Parse a body and check it against the manifest. Raises InvalidInput."""
    json_bytes = len(body) if header_length is None else _read_length(header_length, len(body))
    if json_bytes > LARGE_BYTES:
        table = read_large(body, json_bytes, manifest)
    elif header_length is None:
        table = _read_whole(body)
    else:
        table = _read_object(memoryview(body)[:json_bytes])
    given = table.get("parameters") or _NOTHING
    if not isinstance(given, dict):
        raise InvalidInput(f"parameters: given {shorten(given)}, allowed an object")
    parameters = read_parameters(given, manifest.parameters)
    names, binary = _read_outputs(table.get("outputs"), manifest, given)
    timeout_s = parameters.timeout_s
    request = Request(
        route,
        _read_inputs(table.get("inputs"), manifest, body, json_bytes),
        version=version,
        deadline=None if timeout_s is None else time.monotonic() + timeout_s,
        energy_mj=parameters.energy_mj,
        controls=parameters.controls,
        no_cache=parameters.no_cache,
        partial=parameters.partial,
    )
    identity = table.get("id")
    if identity is None:
        identity = ""
    elif not isinstance(identity, str):
        raise InvalidInput(f"id: given {shorten(identity)}, allowed a string")
    else:
        check_id(identity)
    return ParsedRequest(request, identity, names, binary, timeout_s)


def write_reply(reply: Reply, manifest: Manifest, parsed: ParsedRequest) -> tuple[Headers, bytes]:
    """Return the response's headers, without its content length, and its body."""
    binary = parsed.binary
    outputs: list[JsonObject] = []
    blobs: list[bytes] = []
    for tensor in output_tensors(reply, manifest, parsed.names):
        entry: JsonObject = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": tensor.array.shape,
        }
        if tensor.name in binary:
            blob = write_blob(tensor)
            blobs.append(blob)
            entry["parameters"] = {"binary_data_size": len(blob)}
        else:
            entry["data"] = write_data(tensor)
        outputs.append(entry)
    table: JsonObject = {"model_name": reply.route, "model_version": reply.version}
    if parsed.id:
        table["id"] = parsed.id
    table["parameters"] = response_parameters(reply)
    table["outputs"] = outputs
    header = orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return [JSON_TYPE], header
    length = (b"inference-header-content-length", b"%d" % len(header))
    return [BINARY_TYPE, length], b"".join([header, *blobs])


def _read_length(value: bytes, body_bytes: int) -> int:
    if not value.isdigit() or len(value) > 18 or int(value) > body_bytes:
        raise InvalidInput(
            f"{_LENGTH}: given {shorten(value.decode('latin-1'))}, allowed a"
            f" number up to the body's {body_bytes} bytes"
        )
    return int(value)


def _read_whole(body: bytes) -> JsonObject:
    """Parse a body without the header that gives the JSON's length; a proxy may have dropped it."""
    try:
        return _read_object(body)
    except InvalidInput as error:
        starts_as_json = body[:64].lstrip()[:1] in (b"{", b"[")
        goes_on = "after document" in str(error) or b'"binary_data_size"' in body
        if starts_as_json and body.isascii() and not goes_on:
            raise
        raise InvalidInput(
            f"{error}; where bytes follow the JSON, the header {_LENGTH} must say where it ends,"
            " and it was not given"
        ) from None


def _read_object(raw: bytes | memoryview) -> JsonObject:
    try:
        table = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"body: not JSON: {error}") from None
    if not isinstance(table, dict):
        raise InvalidInput(f"body: given {shorten(table)}, allowed an object")
    return table


def _read_inputs(entries: object, manifest: Manifest, body: bytes, start: int) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = {}
    for entry in _read_entries("inputs", entries, len(manifest.inputs)):
        spec = input_spec(manifest, entry.get("name"))
        if spec.name in inputs:
            raise InvalidInput(f"inputs: given {spec.name!r} twice, allowed once")
        shape = entry.get("shape")
        if not isinstance(shape, list):
            raise InvalidInput(f"inputs.{spec.name}.shape: given {shorten(shape)}, allowed a list")
        size_bytes = _tensor_parameters(entry, "inputs").get("binary_data_size")
        datatype = entry.get("datatype")
        if size_bytes is None:
            elements = check_declared(spec, datatype, shape)
            data = entry.get("data")
            if isinstance(data, NumberText):
                inputs[spec.name] = read_numbers(spec, shape, elements, data)
            else:
                inputs[spec.name] = read_data(spec, shape, elements, data)
            continue
        if type(size_bytes) is not int or not 0 <= size_bytes <= len(body) - start:
            raise InvalidInput(
                f"inputs.{spec.name}.parameters.binary_data_size: given {shorten(size_bytes)}, "
                "after"
                f" the JSON there are {len(body) - start} bytes ({_LENGTH} gives its length)"
            )
        inputs[spec.name] = tensor_from_raw(spec, datatype, shape, body, start, size_bytes)
        start += size_bytes
    if start != len(body):
        raise InvalidInput(f"body: {len(body) - start} bytes after the JSON belong to no input")
    check_rows(manifest, inputs)
    return inputs


def _read_outputs(
    entries: object, manifest: Manifest, given: Mapping[str, object]
) -> tuple[Sequence[str], Sequence[str]]:
    everything = given.get("binary_data_output")
    if everything is None:
        everything = False
    elif not isinstance(everything, bool):
        raise InvalidInput(
            f"parameters.binary_data_output: given {shorten(everything)}, allowed true or false"
        )
    if not entries and (entries is None or isinstance(entries, list)):
        names = select_outputs(manifest, ())
        return names, names if everything else ()
    tables = _read_entries("outputs", entries, len(manifest.outputs) + len(EXPLANATIONS))
    names = select_outputs(manifest, [table.get("name") for table in tables])
    binary: list[str] = []
    for name, table in zip(names, tables, strict=True):
        wanted = _tensor_parameters(table, "outputs").get("binary_data", everything)
        if not isinstance(wanted, bool):
            raise InvalidInput(
                f"outputs.{name}.parameters.binary_data: given {shorten(wanted)}, allowed true or"
                " false"
            )
        if wanted:
            binary.append(name)
    return names, binary


def _read_entries(field: str, entries: object, declared: int) -> Sequence[JsonObject]:
    if isinstance(entries, list):
        check_count(field, len(entries), declared)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidInput(f"{field}: given {shorten(entries)}, allowed a list of objects")
    return entries


def _tensor_parameters(entry: JsonObject, field: str) -> Mapping[str, object]:
    parameters = entry.get("parameters")
    if not parameters:
        return _NOTHING
    if not isinstance(parameters, dict):
        raise InvalidInput(f"{field}.parameters: given {shorten(parameters)}, allowed an object")
    return check_tensor_parameters(field, entry.get("name"), parameters)


def write_blob(tensor: OutputTensor) -> bytes:
    """Return a tensor as the bytes that follow the JSON."""
    return pack_bytes(tensor.array) if tensor.datatype == "BYTES" else tensor.array.tobytes()
