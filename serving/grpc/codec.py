"""Converts between the protocol's messages and the engine's types: tensors and parameters of a
request, tensors of a reply.

`serving.oip`, shared with HTTP, decides what is allowed. This module knows how protobuf writes it:
typed contents or raw bytes, never both. Knows no transport.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.datatypes import DATATYPES
from core.errors import InvalidInput
from core.manifest import Manifest, TensorSpec
from core.messages import Reply, Request
from serving.grpc.messages import Message, MessageClass
from serving.oip.outputs import OutputTensor, output_tensors, response_parameters, select_outputs
from serving.oip.tensor_parameters import check_tensor_parameters
from serving.oip.tensors import (
    Tensor,
    as_bytes,
    check_declared,
    check_id,
    check_rows,
    check_texts,
    input_spec,
    pack_bytes,
    read_parameters,
    read_texts,
    tensor_from_raw,
)

# The typed field of each datatype and the type of its numbers on the wire. FP16 exists only in raw
# form.
FIELDS: Mapping[str, tuple[str, str]] = {
    "BOOL": ("bool_contents", "BOOL"),
    "UINT8": ("uint_contents", "UINT32"),
    "INT8": ("int_contents", "INT32"),
    "UINT16": ("uint_contents", "UINT32"),
    "INT16": ("int_contents", "INT32"),
    "UINT32": ("uint_contents", "UINT32"),
    "INT32": ("int_contents", "INT32"),
    "UINT64": ("uint64_contents", "UINT64"),
    "INT64": ("int64_contents", "INT64"),
    "FP32": ("fp32_contents", "FP32"),
    "FP64": ("fp64_contents", "FP64"),
    "BYTES": ("bytes_contents", "BYTES"),
}


class ParsedRequest(NamedTuple):
    """A request, checked against a route's manifest, and the form that its reply should have."""

    request: Request  # without a deadline
    timeout_s: float | None
    id: str
    outputs: list[str]  # as requested; empty: all that the route declares
    raw: bool


def decode_request(message: Message, manifest: Manifest, *, stream: bool) -> ParsedRequest:
    """Read a whole request and check it before it costs any work. Raises InvalidInput."""
    inputs = decode_inputs(message, manifest)
    parameters = read_parameters(decode_parameters(message), manifest.parameters)
    outputs = [_name_output(output) for output in message.outputs]
    select_outputs(manifest, outputs)
    check_id(message.id)
    request = Request(
        message.model_name,
        inputs,
        version=message.model_version or None,
        energy_mj=parameters.energy_mj,
        controls=parameters.controls,
        no_cache=parameters.no_cache,
        partial=parameters.partial,
        stream=stream,
    )
    raw = len(message.raw_input_contents) > 0
    return ParsedRequest(request, parameters.timeout_s, message.id, outputs, raw)


def decode_inputs(message: Message, manifest: Manifest) -> dict[str, Tensor]:
    """Return all inputs, checked against the manifest. Raises InvalidInput, which names the
    field.
    """
    raws = message.raw_input_contents
    if raws and len(raws) != len(message.inputs):
        raise InvalidInput(
            f"raw_input_contents: given {len(raws)}, allowed one for each of the"
            f" {len(message.inputs)} inputs"
        )
    inputs: dict[str, Tensor] = {}
    for place, given in enumerate(message.inputs):
        spec = input_spec(manifest, given.name)
        if spec.name in inputs:
            raise InvalidInput(f"inputs: given {spec.name!r} twice, allowed once")
        if given.parameters:
            check_tensor_parameters("inputs", spec.name, decode_parameters(given))
        if not raws:
            inputs[spec.name] = _from_typed(spec, given)
            continue
        if given.HasField("contents") and given.contents.ListFields():
            raise InvalidInput(
                f"inputs.{spec.name}.contents: given together with raw_input_contents,"
                " allowed one of them"
            )
        raw = raws[place]
        inputs[spec.name] = tensor_from_raw(
            spec, given.datatype, tuple(given.shape), raw, 0, len(raw)
        )
    check_rows(manifest, inputs)
    return inputs


def decode_parameters(message: Message) -> dict[str, object]:
    """Return a request's or tensor's parameters as plain values, without empty ones."""
    given: dict[str, object] = {}
    for name, parameter in message.parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            given[name] = getattr(parameter, choice)
    return given


def _name_output(output: Message) -> str:
    name: str = output.name
    if output.parameters:
        check_tensor_parameters("outputs", name, decode_parameters(output))
    return name


def encode_reply(
    response: MessageClass,
    reply: Reply,
    manifest: Manifest,
    names: Sequence[str],
    *,
    request_id: str,
    raw: bool,
) -> Message:
    """Return a ModelInferResponse with the named outputs, in raw form if one has no typed form."""
    tensors = output_tensors(reply, manifest, names)
    return encode_tensors(response, reply, tensors, request_id=request_id, raw=raw)


def encode_tensors(
    response: MessageClass,
    reply: Reply,
    tensors: Sequence[OutputTensor],
    *,
    request_id: str,
    raw: bool,
) -> Message:
    """Like `encode_reply`, for outputs that were already read from the reply."""
    message = response(model_name=reply.route, model_version=reply.version, id=request_id)
    for name, value in response_parameters(reply).items():
        message.parameters[name].string_param = value
    raw = raw or any(tensor.datatype not in FIELDS for tensor in tensors)
    for tensor in tensors:
        output = message.outputs.add(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape
        )
        if raw:
            message.raw_output_contents.append(pack_output(tensor))
        else:
            field, _ = FIELDS[tensor.datatype]
            items = tensor.array.ravel().tolist()
            if tensor.datatype == "BYTES":
                items = [as_bytes(item) for item in items]
            getattr(output.contents, field).extend(items)
    return message


def _from_typed(spec: TensorSpec, given: Message) -> Tensor:
    shape = tuple(given.shape)
    elements = check_declared(spec, given.datatype, shape)
    if spec.datatype not in FIELDS:
        raise InvalidInput(
            f"inputs.{spec.name}.contents: {spec.datatype} has no typed form,"
            " allowed raw_input_contents"
        )
    field, wire = FIELDS[spec.datatype]
    _check_field(spec, given, field)
    values = getattr(given.contents, field)
    if len(values) != elements:
        raise InvalidInput(
            f"inputs.{spec.name}.contents.{field}: given {len(values)} elements,"
            f" shape {list(shape)} needs {elements}"
        )
    if spec.datatype == "BYTES":
        check_texts(spec.name, elements)
        return read_texts(spec.name, values).reshape(shape)
    array = np.fromiter(values, DATATYPES[wire], elements)
    if wire != spec.datatype:
        array = _narrow(spec, field, array)
    return array.reshape(shape)


def _check_field(spec: TensorSpec, given: Message, field: str) -> None:
    """Check that only the field of the input's datatype is filled. Raises InvalidInput."""
    filled = [descriptor.name for descriptor, _ in given.contents.ListFields()]
    if filled == [field]:
        return
    raise InvalidInput(
        f"inputs.{spec.name}.contents: given {' and '.join(filled) or 'nothing'},"
        f" allowed {field} for {spec.datatype}, or raw_input_contents"
    )


def _narrow(spec: TensorSpec, field: str, array: Tensor) -> Tensor:
    dtype = DATATYPES[spec.datatype]
    limits = np.iinfo(dtype)
    low, high = array.min(initial=0), array.max(initial=0)
    if low < limits.min or high > limits.max:
        raise InvalidInput(
            f"inputs.{spec.name}.contents.{field}: given {low if low < limits.min else high},"
            f" allowed {limits.min} to {limits.max} for {spec.datatype}"
        )
    return array.astype(dtype)


def pack_output(tensor: OutputTensor) -> bytes:
    """Return an output's raw bytes."""
    if tensor.datatype == "BYTES":
        return pack_bytes(tensor.array)
    return tensor.array.tobytes()
