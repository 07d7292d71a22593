"""Bad tensors, parameters and bodies over HTTP: a 4xx that names the field, and no harm done."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.clients.bad_input import GOOD, INFER, TENSOR, Victim, make_binary, post

SHAPE = [1, 28, 28]
SHAPES: Mapping[str, Any] = {
    "one dimension": [784],
    "two dimensions": [1, 784],
    "four dimensions": [1, 1, 28, 28],
    "no dimensions": [],
    "a thousand dimensions": [1] * 1000,
    "a wrong size": [1, 28, 27],
    "a negative size": [1, 28, -28],
    "negative rows": [-1, 28, 28],
    "the least int64": [-(2**63), 28, 28],
    "sizes that overflow": [1, 2**62, 2**62],
    "2^64 rows": [2**64, 28, 28],
    "-2^64 rows": [-(2**64), 28, 28],
    "no rows": [0, 28, 28],
    "a size that is a float": [1.0, 28, 28],
    "a size that is a flag": [True, 28, 28],
    "a size that is text": ["1", 28, 28],
    "a size that is nothing": [None, 28, 28],
    "a size that is a list": [[1], 28, 28],
    "sizes nested deep": json.loads("[" * 900 + "]" * 900),
    "text": "1,28,28",
    "nothing": None,
    "a number": 28,
}
DATA: Mapping[str, tuple[Any, Any]] = {  # shape, data
    "too few elements": (SHAPE, [0] * 783),
    "too many elements": (SHAPE, [0] * 785),
    "more rows than data": ([2, 28, 28], [0] * 784),
    "2^31 rows": ([2**31, 28, 28], [0]),
    "2^62 rows": ([2**62, 28, 28], [0]),
    "2^63 rows": ([2**63, 28, 28], [0]),
    "no data": (SHAPE, []),
    "data that is no list": (SHAPE, "0" * 784),
    "an element over 255": (SHAPE, [0] * 783 + [256]),
    "a negative element": (SHAPE, [0] * 783 + [-1]),
    "an element over int64": (SHAPE, [0] * 783 + [2**63]),
    "an element of 70 bits": (SHAPE, [0] * 783 + [2**70]),
    "a float": (SHAPE, [0] * 783 + [0.5]),
    "text as an element": (SHAPE, [0] * 783 + ["0"]),
    "null as an element": (SHAPE, [0] * 783 + [None]),
    "an element nested deep": (SHAPE, [0] * 783 + [json.loads("[" * 900 + "]" * 900)]),
    "wrong nesting": (SHAPE, [[0] * 28] * 28),
    "ragged nesting": (SHAPE, [[[0] * 28] * 27 + [[0] * 27]]),
}
# What stands in the request's place of the field -> words of the sentence.
FIELDS: Mapping[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "an unknown input": ({"inputs": [{**TENSOR, "name": "sound"}]}, ("inputs", "'sound'")),
    "an unknown input besides": (
        {"inputs": [TENSOR, {**TENSOR, "name": "sound"}]},
        ("inputs", "'sound'"),
    ),
    "an input's name with a NUL": ({"inputs": [{**TENSOR, "name": "image\0"}]}, ("inputs",)),
    "an input's name of 10 kB": ({"inputs": [{**TENSOR, "name": "i" * 10_000}]}, ("10000",)),
    "an input twice": ({"inputs": [TENSOR, TENSOR]}, ("inputs", "'image' twice")),
    "no input": ({"inputs": []}, ("inputs", "missing")),
    "inputs that are no list": ({"inputs": TENSOR}, ("inputs",)),
    "inputs of numbers": ({"inputs": [1]}, ("inputs",)),
    "inputs nested deep": ({"inputs": json.loads("[" * 900 + "]" * 900)}, ("inputs",)),
    "an unknown output": ({"outputs": [{"name": "nothing"}]}, ("outputs", "'nothing'")),
    "an output without a name": ({"outputs": [{}]}, ("outputs",)),
    "an output twice": ({"outputs": [{"name": "label"}] * 2}, ("outputs", "'label' twice")),
    "outputs that are no list": ({"outputs": {"name": "label"}}, ("outputs",)),
    "a flag that is a number": (
        {"outputs": [{"name": "label", "parameters": {"binary_data": 1}}]},
        ("outputs.label.parameters.binary_data",),
    ),
    "shared memory": (
        {"inputs": [{**TENSOR, "parameters": {"shared_memory_region": "r"}}]},
        ("inputs", "shared_memory_region"),
    ),
    "an id that is a number": ({"id": 7}, ("id",)),
    "parameters that are a list": ({"parameters": [1]}, ("parameters",)),
}
PARAMETERS = [
    ("timeout_ms", "-1"),
    ("timeout_ms", '"-1"'),
    ("timeout_ms", '"abc"'),
    ("timeout_ms", '"NaN"'),
    ("timeout_ms", '"Infinity"'),
    ("timeout_ms", '"1e999"'),
    ("timeout_ms", "[1]"),
    ("timeout_ms", '{"ms": 1}'),
    ("timeout_ms", "[" * 900 + "]" * 900),
    ("timeout_ms", "true"),
    ("timeout_ms", "9223372036854775808"),
    ("timeout_ms", "1" + "0" * 300),
    ("timeout_ms", '"' + "9" * 10_000 + '"'),
    ("timeout", "-1"),
    ("timeout", "18446744073709551616"),
    ("min_confidence", "2"),
    ("min_confidence", "-0.1"),
    ("energy_mj", "-1"),
    ("no_cache", '"maybe"'),
    ("no_cache", "2"),
    ("no_cache", "[]"),
    ("binary_data_output", '"yes"'),
]
BODIES: Mapping[str, bytes] = {
    "nothing": b"",
    "blanks": b"  \r\n ",
    "NUL bytes": bytes(1000),
    "cut off": json.dumps(GOOD).encode()[:-1],
    "with a tail": json.dumps(GOOD).encode() + b"}",
    "a list": b"[]",
    "a number": b"1",
    "not UTF-8": json.dumps(GOOD).encode().replace(b"image", b"im\xffge"),
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "half a surrogate": b'{"id": "\\ud800"}',
    "NaN": json.dumps(GOOD).replace("true", "NaN").encode(),
    "1e999": json.dumps(GOOD).replace("true", "1e999").encode(),
    "100,000 lists deep": b"[" * 100_000 + b"]" * 100_000,
    "100,000 lists deep, never closed": b'{"inputs": ' + b"[" * 100_000,
    "100,000 objects deep": b'{"inputs": ' * 100_000 + b"1" + b"}" * 100_000,
}
BLOB = bytes(784)


def binary_tensor(size_bytes: object) -> dict[str, Any]:
    tensor = {key: value for key, value in TENSOR.items() if key != "data"}
    return {**tensor, "parameters": {"binary_data_size": size_bytes}}


@pytest.mark.parametrize("given", SHAPES.values(), ids=SHAPES.keys())
def test_a_bad_shape_is_refused(victim: Victim, given: Any) -> None:
    table = {"inputs": [{**TENSOR, "shape": given}]}
    victim.check_refused(post(INFER, json.dumps(table).encode()), 400, "inputs.image.shape")


@pytest.mark.parametrize("given", ["FP32", "INT8", "uint8", "BYTES", "", None, 8, ["UINT8"]])
def test_a_wrong_datatype_is_refused(victim: Victim, given: Any) -> None:
    table = {"inputs": [{**TENSOR, "datatype": given}]}
    victim.check_refused(
        post(INFER, json.dumps(table).encode()), 400, "inputs.image.datatype", "allowed UINT8"
    )


@pytest.mark.parametrize(("shape", "data"), DATA.values(), ids=DATA.keys())
def test_data_that_is_not_the_shape_is_refused(victim: Victim, shape: Any, data: Any) -> None:
    table = {"inputs": [{**TENSOR, "shape": shape, "data": data}]}
    victim.check_refused(post(INFER, json.dumps(table).encode()), 400, "inputs.image.data")


def test_a_batch_over_the_limit_is_refused(victim: Victim) -> None:
    tensor = {**binary_tensor(257 * 784), "shape": [257, 28, 28]}
    body, length = make_binary(tensor, bytes(257 * 784))
    victim.check_refused(
        post(INFER, body, inference_header_content_length=length), 413, "inputs: given 257", "256"
    )


@pytest.mark.parametrize(("changes", "words"), FIELDS.values(), ids=FIELDS.keys())
def test_a_bad_field_is_refused_by_name(
    victim: Victim, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    victim.check_refused(post(INFER, json.dumps({**GOOD, **changes}).encode()), 400, *words)


@pytest.mark.parametrize(("name", "value"), PARAMETERS, ids=lambda text: str(text)[:24])
def test_a_hostile_parameter_is_refused_by_name(victim: Victim, name: str, value: str) -> None:
    body = json.dumps(GOOD).replace('{"no_cache": true}', f'{{"{name}": {value}}}')
    victim.check_refused(post(INFER, body.encode()), 400, f"parameters.{name}: given")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_that_is_no_request_is_refused(victim: Victim, body: bytes) -> None:
    victim.check_refused(post(INFER, body), 400, "body: ")


@pytest.mark.parametrize(
    "length", ["-1", "0x10", "abc", "", "1.5", "1e2", "99999", "9" * 30, "9" * 5000, "0, 5"]
)
def test_a_header_length_that_is_none_is_refused(victim: Victim, length: str) -> None:
    body, _ = make_binary(binary_tensor(784), BLOB)
    victim.check_refused(
        post(INFER, body, inference_header_content_length=length),
        400,
        "Inference-Header-Content-Length: given",
    )


@pytest.mark.parametrize("error", [-1000, -100, -1, 1, 100])
def test_a_header_length_in_the_middle_is_refused(victim: Victim, error: int) -> None:
    body, length = make_binary(binary_tensor(784), BLOB)
    lie = max(0, length + error)
    victim.check_refused(post(INFER, body, inference_header_content_length=lie), 400, "body: ")


@pytest.mark.parametrize(
    "size_bytes", [0, 783, 785, -1, 2**31, 2**62, 2**64, 784.0, "784", True, [784]]
)
def test_a_lying_binary_size_is_refused(victim: Victim, size_bytes: object) -> None:
    body, length = make_binary(binary_tensor(size_bytes), BLOB)
    victim.check_refused(
        post(INFER, body, inference_header_content_length=length), 400, "inputs.image"
    )


@pytest.mark.parametrize("blob", [b"", bytes(783)], ids=["none", "too little"])
def test_missing_binary_data_is_refused(victim: Victim, blob: bytes) -> None:
    body, length = make_binary(binary_tensor(784), blob)
    victim.check_refused(
        post(INFER, body, inference_header_content_length=length), 400, "binary_data_size"
    )


def test_binary_data_of_no_input_is_refused(victim: Victim) -> None:
    body, length = make_binary(binary_tensor(784), BLOB, BLOB)
    victim.check_refused(
        post(INFER, body, inference_header_content_length=length), 400, "784 bytes", "no input"
    )


def send_words(rows: int, blob: bytes) -> bytes:
    entry = {
        "name": "words",
        "datatype": "BYTES",
        "shape": [rows, 1],
        "parameters": {"binary_data_size": len(blob)},
    }
    body, length = make_binary(entry, blob)
    return post("/v2/models/text/infer", body, inference_header_content_length=length)


@pytest.mark.parametrize(
    ("rows", "blob"),
    [
        (1, b""),
        (1, b"\1\0\0"),
        (1, struct.pack("<I", 5) + b"four"),
        (1, struct.pack("<I", 3) + b"four"),
        (1, struct.pack("<I", 2**32 - 1) + b"four"),
        (2, struct.pack("<I", 8) + struct.pack("<I", 0) * 2),
        (2**62, struct.pack("<I", 0)),
    ],
)
def test_lying_lengths_of_bytes_are_refused(victim: Victim, rows: int, blob: bytes) -> None:
    victim.check_refused(send_words(rows, blob), 400, "inputs.words", "BYTES")


def test_honest_lengths_of_bytes_are_answered(victim: Victim) -> None:
    reply = victim.send(send_words(2, struct.pack("<I", 1) + b"a" + struct.pack("<I", 0)))
    assert reply.status == 200, reply.body
    outputs: Any = reply.json()["outputs"]
    assert outputs[0] == {"name": "label", "datatype": "INT64", "shape": [2], "data": [9, 9]}


def test_a_good_binary_request_is_answered(victim: Victim) -> None:
    body, length = make_binary(binary_tensor(784), np.zeros(784, np.uint8).tobytes())
    reply = victim.send(post(INFER, body, inference_header_content_length=length))
    assert reply.status == 200, reply.body
