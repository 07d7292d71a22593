"""Bad calls over gRPC: INVALID_ARGUMENT and its kin with a sentence, and no harm done."""

import struct
from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from tests.clients.bad_calls import RAW, Caller, make_request

SHAPES: Mapping[str, list[int]] = {
    "one dimension": [784],
    "four dimensions": [1, 1, 28, 28],
    "no dimensions": [],
    "ten thousand dimensions": [1] * 10_000,
    "a wrong size": [1, 28, 27],
    "a negative size": [1, 28, -28],
    "negative rows": [-1, 28, 28],
    "the least int64": [-(2**63), 28, 28],
    "sizes that overflow": [1, 2**62, 2**62],
    "no rows": [0, 28, 28],
}
# The parameter's name, its field in the message, its value.
PARAMETERS: list[tuple[str, str, Any]] = [
    ("timeout_ms", "double_param", float("nan")),
    ("timeout_ms", "double_param", float("inf")),
    ("timeout_ms", "int64_param", -1),
    ("timeout_ms", "int64_param", 2**63 - 1),
    ("timeout_ms", "uint64_param", 2**64 - 1),
    ("timeout_ms", "string_param", "abc"),
    ("timeout_ms", "string_param", "1e999"),
    ("timeout_ms", "string_param", "é" * 5000),
    ("timeout_ms", "bool_param", True),
    ("timeout", "int64_param", -(2**63)),
    ("min_confidence", "double_param", 2.0),
    ("min_confidence", "int64_param", 2),
    ("energy_mj", "double_param", -1.0),
    ("no_cache", "string_param", "maybe"),
    ("no_cache", "int64_param", 2),
]
# Changes to a good request -> words of the sentence.
NAMES: Mapping[str, tuple[dict[str, str], str]] = {
    "an unknown route": ({"model_name": "nothing"}, "'nothing'"),
    "no route": ({"model_name": ""}, "''"),
    "a way out": ({"model_name": "../../etc"}, "'../../etc'"),
    "a NUL": ({"model_name": "tiny\0"}, "x00"),
    "line ends": ({"model_name": "tiny\r\nx: y"}, "tiny"),
    "10 kB of a route": ({"model_name": "r" * 10_240}, "rrr"),
    "10 kB of a route beyond ASCII": ({"model_name": "🙈" * 2_560}, "🙈🙈🙈"),
    "an unknown task": ({"model_name": "auto:nothing"}, "'nothing'"),
    "an unknown version": ({"model_version": "9"}, "no version '9'"),
    "10 kB of a version": ({"model_version": "9" * 10_240}, "no version"),
}


INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_bad_shape_is_refused(caller: Caller, shape: list[int], typed: bool) -> None:
    request = make_request(None if typed else RAW)
    del request.inputs[0].shape[:]
    request.inputs[0].shape.extend(shape)
    if typed:
        request.inputs[0].contents.uint_contents.extend(RAW)
    caller.check_refused(request, INVALID, "inputs.image.shape: given")


@pytest.mark.parametrize("datatype", ["FP32", "uint8", "", "BYTES", "U" * 10_000])
def test_a_wrong_datatype_is_refused(caller: Caller, datatype: str) -> None:
    request = make_request()
    request.inputs[0].datatype = datatype
    caller.check_refused(request, INVALID, "inputs.image.datatype: given", "allowed UINT8")


@pytest.mark.parametrize("rows", [1, 2, 2**31, 2**62])
def test_raw_bytes_that_are_not_the_shape_are_refused(caller: Caller, rows: int) -> None:
    request = make_request(RAW[:-1])
    request.inputs[0].shape[0] = rows
    caller.check_refused(request, INVALID, "inputs.image: given 783 bytes", str(rows * 784))


@pytest.mark.parametrize("rows", [2, 2**31, 2**62])
def test_typed_contents_that_are_not_the_shape_are_refused(caller: Caller, rows: int) -> None:
    request = make_request(None)
    request.inputs[0].shape[0] = rows
    request.inputs[0].contents.uint_contents.extend(RAW)
    caller.check_refused(request, INVALID, "inputs.image.contents.uint_contents: given 784")


def test_a_batch_over_the_limit_is_refused(caller: Caller) -> None:
    request = make_request(RAW * 257)
    request.inputs[0].shape[0] = 257
    caller.check_refused(
        request, grpc.StatusCode.RESOURCE_EXHAUSTED, "inputs: given 257 rows", "256"
    )


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("uint_contents", [256] + [0] * 783),
        ("uint_contents", [2**32 - 1] * 784),
        ("int_contents", [0] * 784),
        ("fp32_contents", [float("nan")] * 784),
        ("bytes_contents", [b"x"]),
    ],
)
def test_typed_contents_that_do_not_fit_are_refused(
    caller: Caller, field: str, values: list[Any]
) -> None:
    request = make_request(None)
    getattr(request.inputs[0].contents, field).extend(values)
    caller.check_refused(request, INVALID, "inputs.image.contents", "UINT8")


def test_raw_and_typed_contents_together_are_refused(caller: Caller) -> None:
    request = make_request()
    request.inputs[0].contents.uint_contents.extend(RAW)
    caller.check_refused(request, INVALID, "inputs.image.contents", "raw_input_contents")


def test_neither_raw_nor_typed_contents_are_refused(caller: Caller) -> None:
    caller.check_refused(make_request(None), INVALID, "inputs.image.contents: given nothing")


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_too_few_or_too_many_raw_contents_are_refused(caller: Caller, count: int) -> None:
    request = make_request(None)
    request.inputs.add(name="sound", datatype="UINT8", shape=[1])
    request.raw_input_contents.extend([b"x"] * count)
    caller.check_refused(request, INVALID, "raw_input_contents: given", "2 inputs")


@pytest.mark.parametrize(("name", "words"), [("image", "'image' twice"), ("sound", "'sound'")])
def test_an_input_twice_or_unknown_is_refused(caller: Caller, name: str, words: str) -> None:
    request = make_request()
    request.inputs.add(name=name, datatype="UINT8", shape=[1, 28, 28])
    request.raw_input_contents.append(RAW)
    caller.check_refused(request, INVALID, "inputs", words)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["nothing"], "'nothing'"),
        ([""], "''"),
        (["label"] * 2, "'label' twice"),
        (["n" * 10_000], "10000"),
    ],
)
def test_an_output_twice_or_unknown_is_refused(
    caller: Caller, names: list[str], words: str
) -> None:
    request = make_request()
    for name in names:
        request.outputs.add(name=name)
    caller.check_refused(request, INVALID, "outputs: given", words)


@pytest.mark.parametrize(("name", "field", "value"), PARAMETERS, ids=lambda text: str(text)[:24])
def test_a_hostile_parameter_is_refused_by_name(
    caller: Caller, name: str, field: str, value: Any
) -> None:
    request = make_request()
    setattr(request.parameters[name], field, value)
    caller.check_refused(request, INVALID, f"parameters.{name}: given")


@pytest.mark.parametrize(("changes", "words"), NAMES.values(), ids=NAMES.keys())
def test_an_unknown_name_is_not_found(caller: Caller, changes: dict[str, str], words: str) -> None:
    caller.check_refused(make_request(RAW, **changes), grpc.StatusCode.NOT_FOUND, words)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\1\0\0",
        struct.pack("<I", 5) + b"four",
        struct.pack("<I", 3) + b"four",
        struct.pack("<I", 2**32 - 1) + b"four",
    ],
)
def test_lying_lengths_of_bytes_are_refused(caller: Caller, blob: bytes) -> None:
    request = service_pb2.ModelInferRequest(model_name="text")
    request.inputs.add(name="words", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(blob)
    caller.check_refused(request, INVALID, "inputs.words", "BYTES")
