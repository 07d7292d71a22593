"""Bodies of the protocol over HTTP, JSON and binary, good and hostile."""

import struct
import time
from typing import Any

import numpy as np
import orjson
import pytest

from core.errors import InvalidInput
from core.manifest import Manifest
from serving.http.infer.tensor_body import ParsedRequest, read_request, write_reply
from tests.serving.small_engine import make_answer, make_manifest, make_reply

MANIFEST = make_manifest()


def read(body: bytes, length: bytes | None = None, manifest: Manifest = MANIFEST) -> ParsedRequest:
    return read_request(body, length, manifest, "small", None)


def make_table(**changes: Any) -> dict[str, Any]:
    entry = {"name": "image", "datatype": "UINT8", "shape": [1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}
    return {"inputs": [{**entry, **changes}]}


def read_table(
    table: dict[str, Any], blob: bytes = b"", manifest: Manifest = MANIFEST
) -> ParsedRequest:
    header = orjson.dumps(table)
    return read(header + blob, b"%d" % len(header), manifest)


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[[1, 2, 3], [4, 5, 6]]]])
def test_json_data_may_be_flat_or_nested(data: list[Any]) -> None:
    array = read(orjson.dumps(make_table(data=data))).request.inputs["image"]
    assert array.dtype == np.uint8
    assert array.tolist() == [[[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize(
    "data",
    [
        None, 7, 10**12, "abcdef", {}, [], [1, 2, 3], [1] * 7, [1, 2, 3, 4, 5, 256],
        [1, 2, 3, 4, 5, -1], [1, 2, 3, 4, 5, 6.0], [1, 2, 3, 4, 5, None], [1, 2, 3, 4, 5, "6"],
        [1, 2, 3, 4, 5, [6]], [[1, 2, 3], [4, 5, 6]], [[[1, 2], [3, 4], [5, 6]]],
        [[[1, 2, 3], [4, 5]]], [[[1, 2, 3], 4, 5, 6]], [["abc", "def"]], [[[[1, 2, 3, 4, 5, 6]]]],
        [[], []], [1, 2, 3, 4, 5, 2**70],
    ],
)  # fmt: skip
def test_json_data_that_is_not_the_shape_is_refused(data: object) -> None:
    body = orjson.dumps(make_table(data=data)) if data != [1, 2, 3, 4, 5, 2**70] else None
    if body is None:
        body = orjson.dumps(make_table()).replace(b"6]", b"%d]" % 2**70)
    with pytest.raises(InvalidInput, match=r"inputs\.image\.data"):
        read(body)


@pytest.mark.parametrize(
    ("datatype", "good", "bad"),
    [
        ("BOOL", [True, False], [1, 0]),
        ("INT8", [-128, 127], [128, 0]),
        ("UINT16", [0, 65535], [-1, 0]),
        ("INT64", [-(2**63), 2**63 - 1], [0.5, 0]),
        ("UINT64", [0, 2**64 - 1], [-1, 0]),
        ("FP16", [0.5, 1], [70000.0, 0]),
        ("FP32", [0.5, 1], [1e39, 0]),
        ("FP64", [1e300, 1], ["1", 0]),
        ("BYTES", ["a", "ä\0"], [1, "a"]),
    ],
)
def test_every_datatype_is_read_exactly_or_refused(
    datatype: str, good: list[Any], bad: list[Any]
) -> None:
    manifest = make_manifest(inputs=[{"name": "image", "datatype": datatype, "shape": [-1]}])
    table = make_table(datatype=datatype, shape=[2], data=good)
    array = read_table(table, manifest=manifest).request.inputs["image"]
    assert array.tolist() == good
    with pytest.raises(InvalidInput, match=f"an element is not {datatype}"):
        read_table(make_table(datatype=datatype, shape=[2], data=bad), manifest=manifest)


def make_binary(size_bytes: object = 6, **changes: Any) -> dict[str, Any]:
    table = make_table(parameters={"binary_data_size": size_bytes}, **changes)
    del table["inputs"][0]["data"]
    return table


def test_binary_data_behind_the_json_is_read_in_the_order_of_the_inputs() -> None:
    specs = [{"name": name, "datatype": "INT16", "shape": [-1]} for name in ("a", "b")]
    entries = [
        {"name": name, "datatype": "INT16", "shape": [1], "parameters": {"binary_data_size": 2}}
        for name in ("b", "a")
    ]
    asked = read_table({"inputs": entries}, b"\1\0\2\0", make_manifest(inputs=specs))
    assert {name: array.tolist() for name, array in asked.request.inputs.items()} == {
        "b": [1],
        "a": [2],
    }


@pytest.mark.parametrize("size_bytes", [5, 7, -1, 2**62, 6.0, "6", True, [6]])
def test_a_lying_binary_size_is_refused(size_bytes: object) -> None:
    with pytest.raises(InvalidInput, match=r"inputs\.image"):
        read_table(make_binary(size_bytes), bytes(6))


@pytest.mark.parametrize("blob", [b"", bytes(5), bytes(7)])
def test_missing_or_surplus_binary_data_is_refused(blob: bytes) -> None:
    with pytest.raises(InvalidInput, match="after the JSON"):
        read_table(make_binary(), blob)


@pytest.mark.parametrize("length", [b"-1", b"", b"x", b"99999", b"9" * 5000, b"1.0", b"\xb2"])
def test_a_lying_header_length_is_refused(length: bytes) -> None:
    with pytest.raises(InvalidInput, match="Inference-Header-Content-Length: given"):
        read(orjson.dumps(make_table()), length)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000 + b"]" * 100_000, b"{}",
        b'{"inputs":' + b"[" * 100_000, b'{"inputs":5}', b'{"inputs":[5]}', b'{"inputs":[]}',
        b'{"inputs":[{}]}', b'{"inputs":[{"name":["image"]}]}', b'{"inputs":[{"name":"image"}]}',
        b'{"inputs":[{"name":"image","shape":"1"}]}', b'{"inputs":{"name":"image"}}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(body)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": [1]},
        {"parameters": {"binary_data_output": "yes"}},
        {"parameters": {"timeout_ms": -1}},
        {"id": 5},
        {"outputs": {"name": "label"}},
        {"outputs": [{"name": "nothing"}]},
        {"outputs": [{"name": "label", "parameters": {"binary_data": 1}}]},
        {"outputs": [{"name": "label", "parameters": {"classification": 3}}]},
        {"outputs": [{"name": "label", "parameters": [3]}]},
    ],
)
def test_hostile_fields_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        read(orjson.dumps({**make_table(), **changes}))


def test_shared_memory_and_a_repeated_input_are_refused() -> None:
    with pytest.raises(InvalidInput, match="shared_memory_region"):
        read_table(make_table(parameters={"shared_memory_region": "x"}))
    table = make_table()
    with pytest.raises(InvalidInput, match="twice"):
        read_table({"inputs": table["inputs"] * 2})


NULLS: list[dict[str, Any]] = [
    {"id": None},
    {"parameters": None},
    {"outputs": None},
    {"parameters": {"timeout_ms": None, "binary_data_output": None, "no_cache": None}},
    {"outputs": [{"name": "label", "parameters": None}, {"name": "probabilities"}]},
    {
        "outputs": [
            {"name": "label", "parameters": {"binary_data": None}},
            {"name": "probabilities"},
        ]
    },
    {
        "outputs": [
            {"name": "label", "parameters": {"classification": None}},
            {"name": "probabilities"},
        ]
    },
    {"inputs": [{**make_table()["inputs"][0], "parameters": None}]},
    {"inputs": [{**make_table()["inputs"][0], "parameters": {"binary_data_size": None}}]},
    {"inputs": [{**make_table()["inputs"][0], "parameters": {"shared_memory_region": None}}]},
]


@pytest.mark.parametrize("changes", NULLS, ids=repr)
def test_null_is_as_if_the_member_was_not_there(changes: dict[str, Any]) -> None:
    plain = read_table(make_table())
    asked = read_table({**make_table(), **changes})
    assert asked._replace(request=plain.request, binary=()) == plain
    assert asked.request.inputs["image"].tolist() == plain.request.inputs["image"].tolist()
    assert asked.request._replace(inputs={}) == plain.request._replace(inputs={})


@pytest.mark.parametrize("tail", [b"\0" * 6, b"\xff" * 6, b"123456"])
@pytest.mark.parametrize("parameters", [{"binary_data_size": 6}, {}])
def test_a_lost_header_is_named_where_bytes_follow_the_json(
    parameters: dict[str, Any], tail: bytes
) -> None:
    with pytest.raises(InvalidInput, match="the header Inference-Header-Content-Length must say"):
        read(orjson.dumps(make_table(parameters=parameters)) + tail)


@pytest.mark.parametrize("body", [b"\0" * 6, b"\xff" * 6])
def test_a_lost_header_is_named_where_the_body_is_bytes_alone(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="the header Inference-Header-Content-Length must say"):
        read(body)


def test_a_lost_header_is_named_where_no_bytes_follow() -> None:
    body = orjson.dumps(make_table(parameters={"binary_data_size": 6}))
    with pytest.raises(InvalidInput, match="Inference-Header-Content-Length"):
        read(body)


def test_bytes_behind_the_json_are_text_or_refused() -> None:
    manifest = make_manifest(inputs=[{"name": "image", "datatype": "BYTES", "shape": [-1]}])
    for item in (b"yes", b"\xff"):
        blob = struct.pack("<I", len(item)) + item
        table = make_table(datatype="BYTES", shape=[1], parameters={"binary_data_size": len(blob)})
        if item == b"yes":
            read_array = read_table(table, blob, manifest).request.inputs["image"]
            assert read_array.tolist() == ["yes"]
        else:
            with pytest.raises(InvalidInput, match=r"inputs\.image: element 0 .* not UTF-8"):
                read_table(table, blob, manifest)


def test_parameters_become_the_requests_fields() -> None:
    parameters = {"timeout_ms": 1000, "no_cache": True, "min_confidence": "0.5", "energy_mj": 2}
    before = time.monotonic()
    request = read(orjson.dumps({**make_table(), "parameters": parameters})).request
    assert request.deadline is not None and before + 1 <= request.deadline <= time.monotonic() + 1
    assert (request.no_cache, request.energy_mj) == (True, 2.0)
    assert dict(request.controls) == {"min_confidence": 0.5}


def test_a_json_reply_is_flat_and_writes_unknown_energy_as_null() -> None:
    names = ["label", "probabilities", "exit", "energy_mj", "cached"]
    asked = read(orjson.dumps({**make_table(), "id": "7", "outputs": [{"name": n} for n in names]}))
    headers, body = write_reply(make_reply(make_answer(), make_answer()), MANIFEST, asked)
    assert headers == [(b"content-type", b"application/json")]
    table = orjson.loads(body)
    outputs = table.pop("outputs")
    assert table == {
        "model_name": "small",
        "model_version": "1",
        "id": "7",
        "parameters": {
            "route": "small",
            "version": "1",
            "digest": "ab" * 32,
            "energy_source": "none",
            "certificate": "none",
        },
    }
    assert [(one["name"], one["datatype"], one["shape"], one["data"]) for one in outputs] == [
        ("label", "INT64", [2], [1, 1]),
        ("probabilities", "FP32", [2, 2], [0.25, 0.75, 0.25, 0.75]),
        ("exit", "BYTES", [2], ["shade", "shade"]),
        ("energy_mj", "FP32", [2], [None, None]),
        ("cached", "BOOL", [2], [False, False]),
    ]


def test_binary_outputs_follow_the_json_in_order() -> None:
    asked = read(
        orjson.dumps(
            {
                **make_table(),
                "parameters": {"binary_data_output": True},
                "outputs": [
                    {"name": "exit"},
                    {"name": "label", "parameters": {"binary_data": False}},
                    {"name": "probabilities"},
                ],
            }
        )
    )
    headers, body = write_reply(make_reply(make_answer()), MANIFEST, asked)
    length = int(dict(headers)[b"inference-header-content-length"])
    first, second, third = orjson.loads(body[:length])["outputs"]
    assert first["parameters"] == {"binary_data_size": 9}
    assert second["data"] == [1] and "parameters" not in second
    assert third["parameters"] == {"binary_data_size": 8} and "data" not in third
    assert body[length:] == b"\5\0\0\0shade" + np.array([0.25, 0.75], np.float32).tobytes()


def test_bytes_that_are_no_text_are_refused_in_json_only() -> None:
    manifest = make_manifest(outputs=[{"name": "blob", "datatype": "BYTES", "shape": [-1]}])
    blob = np.empty((), np.object_)
    blob[()] = b"\xff"
    reply = make_reply(make_answer({"blob": blob}))
    asked = read(orjson.dumps(make_table()), manifest=manifest)
    with pytest.raises(InvalidInput, match="request it as binary data"):
        write_reply(reply, manifest, asked)
    assert write_reply(reply, manifest, asked._replace(binary=["blob"]))[1].endswith(
        b"\1\0\0\0\xff"
    )
