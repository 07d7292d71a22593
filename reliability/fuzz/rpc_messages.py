"""ModelInferRequests by their fields: valid ones with their answers, and changed ones."""

import struct
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from reliability.fuzz.protobuf import BYTES, VARINT, Field, text, varint
from reliability.fuzz.valid_http import compare, write_blob
from reliability.samples import Sample, stack
from reliability.wire.conversation import RpcRight
from serving.grpc.messages import Messages

MESSAGES = Messages()
_VARINTS = [varint(n) for n in range(256)]
_READ = {"INT64": "<i8", "FP32": "<f4"}
_TYPED = {"INT64": "int64_contents", "FP32": "fp32_contents"}


def make_fields(rng: Random, samples: Sequence[Sample], request_id: str = "") -> list[Field]:
    """A valid request of these rows, raw or typed."""
    spec = samples[0].spec
    shape = b"".join(varint(size) for size in (len(samples), *samples[0].row.shape))
    tensor = [text(1, spec.name), text(2, spec.datatype), Field(3, BYTES, shape)]
    fields = [text(1, samples[0].route)]
    if request_id:
        fields.append(text(3, request_id))
    if rng.random() < 0.3:
        fields.append(parameter(4, "no_cache", Field(1, VARINT, b"\x01")))
    if rng.random() < 0.5:
        fields += [Field(5, BYTES, tensor), Field(7, BYTES, write_blob(samples))]
        return fields
    if spec.datatype == "BYTES":
        items = [text(8, item) for sample in samples for item in sample.row.reshape(-1)]
        contents: Any = items
    else:
        packed = b"".join(_VARINTS[n] for sample in samples for n in sample.row.tobytes())
        contents = [Field(4, BYTES, packed)]
    fields.append(Field(5, BYTES, [*tensor, Field(5, BYTES, contents)]))
    return fields


def parameter(number: int, name: str, value: Field) -> Field:
    """An entry of a map of parameters."""
    return Field(number, BYTES, [text(1, name), Field(2, BYTES, [value])])


def make_parameters(rng: Random) -> list[Field]:
    """Known names with possible and impossible values, unknown ones, and many of them."""
    names = (
        "timeout_ms",
        "timeout",
        "energy_mj",
        "min_confidence",
        "no_cache",
        "x",
        "",
        "priority",
    )
    values = (
        Field(1, VARINT, b"\x01"), Field(2, VARINT, varint(rng.choice((0, 1, 50, -1, 2**62)))),
        text(3, rng.choice(("50", "0.5", "-1", "nan", "1e400", "", "true", "x" * 500))),
        Field(4, 1, struct.pack("<d", rng.choice((0.5, 50.0, -1.0, float("nan"), float("inf"))))),
        Field(5, VARINT, varint(2**64 - 1)), Field(9, VARINT, b"\0"),
    )  # fmt: skip
    if rng.random() < 0.005:
        return [parameter(4, f"p{n}", values[0]) for n in range(3000)]
    return [parameter(4, rng.choice(names), rng.choice(values)) for _ in range(rng.randint(1, 3))]


def expect_response(samples: Sequence[Sample], request_id: str = "") -> RpcRight:
    """The declared outputs of these rows, raw or typed, to the bit, and the request's id."""
    seen: set[bytes] = set()

    def check(messages: Sequence[bytes]) -> str:
        if len(messages) != 1:
            return f"{len(messages)} messages, right is 1"
        if messages[0] in seen:
            return ""
        fault = compare_response(
            MESSAGES.infer_response.FromString(messages[0]), samples, request_id
        )
        if not fault and len(seen) < 4:
            seen.add(messages[0])
        return fault

    return check


def compare_response(message: Any, samples: Sequence[Sample], request_id: str) -> str:
    if message.id != request_id:
        return f"the id is {message.id!r}, right is {request_id!r}"
    return compare(
        {name: stack(samples, name) for name in ("label", "probabilities")}, read_response(message)
    )


def read_response(message: Any) -> dict[str, Any]:
    """Outputs by name."""
    raws = message.raw_output_contents
    found: dict[str, Any] = {}
    for place, tensor in enumerate(message.outputs):
        if tensor.datatype not in _READ:
            continue
        if raws:
            array = np.frombuffer(raws[place], _READ[tensor.datatype])
        else:
            array = np.array(getattr(tensor.contents, _TYPED[tensor.datatype]))
        found[tensor.name] = array.reshape(tuple(tensor.shape))
    return found
