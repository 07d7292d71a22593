"""Messages of too many parts are refused before anything is built of them."""

import time
from typing import Any

import pytest

from core.errors import InvalidInput
from serving.grpc.message_counts import (
    MAX_DIMENSIONS,
    MAX_FIELDS,
    MAX_PARAMETERS,
    MAX_TENSORS,
    SMALL_BYTES,
    check_counts,
)
from serving.grpc.messages import Messages, Method

MESSAGES = Messages()
LARGE = 16 * 2**20
INFER = next(method for method in MESSAGES.methods() if method.name == "ModelInfer")


def fill(unit: bytes) -> bytes:
    return unit * (LARGE // len(unit))


def field(number: int, content: bytes) -> bytes:
    """A field with a content of less than 2**28 bytes."""
    size = len(content)
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21])
    return bytes([number << 3 | 2]) + length + content


PARAMETER = b"\x22\x09\x0a\x03abc\x12\x02\x10\x01"
ATTACKS = {
    "parameters": (fill(PARAMETER), f"parameters: given more than {MAX_PARAMETERS}"),
    "inputs": (fill(b"\x2a\x00"), f"inputs: given more than {MAX_TENSORS}"),
    "outputs": (fill(b"\x32\x00"), f"outputs: given more than {MAX_TENSORS}"),
    "raw contents": (fill(b"\x3a\x00"), f"raw_input_contents: given more than {MAX_TENSORS}"),
    "unknown fields": (fill(b"\xf8\x01\x01"), f"given more than {MAX_FIELDS} fields"),
    "unknown strings": (fill(b"\xfa\x01\x00"), f"given more than {MAX_FIELDS} fields"),
    "routes": (fill(b"\x0a\x01a"), f"given more than {MAX_FIELDS} fields"),
    "dimensions": (
        field(5, b"\x0a\x05image" + field(3, fill(b"\x01"))),
        f"inputs.image.shape: given more than {MAX_DIMENSIONS}",
    ),
    "dimensions one by one": (
        field(5, b"\x0a\x05image" + fill(b"\x18\x01")),
        f"inputs.image.shape: given more than {MAX_DIMENSIONS}",
    ),
    "an input's parameters": (
        field(5, b"\x0a\x05image" + fill(PARAMETER)),
        f"inputs.image.parameters: given more than {MAX_PARAMETERS}",
    ),
    "an output's parameters": (
        field(6, b"\x0a\x05label" + fill(b"\x12" + PARAMETER[1:])),
        f"outputs.label.parameters: given more than {MAX_PARAMETERS}",
    ),
    "words": (
        field(5, field(5, fill(b"\x42\x00"))),
        f"given more than {MAX_FIELDS} fields",
    ),
    "zeros": (bytes(LARGE), "not a protobuf message for ModelInfer"),
    "groups": (fill(b"\x0b\x0c"), "not a protobuf message for ModelInfer"),
    "a number without end": (fill(b"\xff"), "not a protobuf message for ModelInfer"),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_a_large_message_of_too_many_parts_is_refused_in_no_time(name: str, method: str) -> None:
    raw, words = ATTACKS[name]
    parse = next(one for one in MESSAGES.methods() if one.name == method)
    used_s = time.process_time()
    with pytest.raises(InvalidInput, match=words):
        parse.parse(raw)
    assert time.process_time() - used_s < 0.25  # 0.05 s seen


@pytest.mark.parametrize(
    ("unit", "words"),
    [(PARAMETER, ""), (b"\x2a\x00", "inputs"), (b"\x32\x00", "outputs")],
)
def test_a_small_one_too(unit: bytes, words: str) -> None:
    raw = unit * (SMALL_BYTES // len(unit))
    if unit is PARAMETER:  # a map: the same key again is no second parameter
        keys = [b"%03d" % number for number in range(SMALL_BYTES // len(unit))]
        raw, words = b"".join(unit.replace(b"abc", key) for key in keys), "parameters"
    with pytest.raises(InvalidInput, match=f"^{words}: given more than"):
        INFER.parse(raw)


def good(size: int) -> Any:
    message = MESSAGES.infer_request(model_name="the route", model_version="7", id="x" * size)
    for number in range(MAX_PARAMETERS):
        message.parameters[str(number)].int64_param = -number
    for number in range(MAX_TENSORS):
        message.inputs.add(name=str(number), datatype="FP64", shape=[1] * MAX_DIMENSIONS)
        message.outputs.add(name=str(number)).parameters["a"].double_param = 0.5
        message.raw_input_contents.append(bytes(number))
    message.inputs[0].contents.fp64_contents.extend([1.0] * size)
    message.inputs[1].contents.bytes_contents.extend([b"word"] * 10_000)
    return message


def test_what_is_within_the_limits_passes_and_tells_its_route() -> None:
    message = good(1000)
    raw = message.SerializeToString()
    assert check_counts(raw) == ("the route", "7")
    assert INFER.parse(raw) == message


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_what_is_cut_off_is_no_message(cut: int) -> None:
    raw = good(1000).SerializeToString()
    with pytest.raises(InvalidInput, match="not a protobuf message"):
        INFER.parse(raw[:-cut])


def test_other_methods_messages_are_parsed_as_they_are() -> None:
    method: Method = next(one for one in MESSAGES.methods() if one.name == "ServerLive")
    assert method.parse(fill(b"\xfa\x01\x00")[: SMALL_BYTES * 3])
