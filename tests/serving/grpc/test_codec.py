"""Typed and raw tensors, parameters and replies, from protobuf and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datatypes import DATATYPES
from core.errors import InvalidInput
from core.manifest import Manifest
from core.messages import Answer, Outcome, Reply
from serving.grpc.codec import (
    FIELDS,
    decode_inputs,
    decode_parameters,
    decode_request,
    encode_reply,
)
from serving.grpc.messages import Message, Messages
from serving.oip.tensors import object_array, pack_bytes
from tests.fakes.replies import reply_with

MESSAGES = Messages()


def make_manifest(datatype: str = "UINT8", shape: tuple[int, ...] = (-1, 2)) -> Manifest:
    return Manifest.model_validate(
        {
            "format": 1,
            "route": "toy",
            "version": "1",
            "task": "toys",
            "pipeline": "toy",
            "expected_macs": 1.0,
            "inputs": [{"name": "x", "datatype": datatype, "shape": shape}],
            "outputs": [{"name": "y", "datatype": datatype, "shape": shape}],
            "stages": [{"name": "only", "file": "only.onnx", "macs": 1}],
            "files": {},
            "provenance": {},
        }
    )


def make_values(datatype: str) -> np.ndarray[Any, Any]:
    """Four values of the datatype, its limits among them, [2, 2]."""
    dtype = DATATYPES[datatype]
    if datatype == "BYTES":
        return object_array(["a", "", "\x00ä\x00", "long" * 9]).reshape(2, 2)
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    if dtype.kind == "f":
        return np.array([[0.5, -1.0], [np.inf, 0.1]], dtype)
    return np.array([[np.iinfo(dtype).min, 1], [np.iinfo(dtype).max, 0]], dtype)


def request(
    datatype: str = "UINT8",
    shape: tuple[int, ...] = (2, 2),
    *,
    name: str = "x",
    raw: bytes | None = None,
    **contents: Any,  # typed fields by name
) -> Message:
    message = MESSAGES.infer_request(model_name="toy")
    message.inputs.add(name=name, datatype=datatype, shape=shape, contents=contents or None)
    if raw is not None:
        message.raw_input_contents.append(raw)
    return message


def make_reply(values: np.ndarray[Any, Any]) -> Reply:
    answers = [
        Answer(Outcome({"y": row}, 0.75, "only"), "last_stage", False, 7, None, 0.002)
        for row in values
    ]
    return reply_with(answers, "toy")


@pytest.mark.parametrize("datatype", DATATYPES)
def test_a_raw_input_of_every_datatype_is_read_bit_for_bit(datatype: str) -> None:
    values = make_values(datatype)
    raw = pack_bytes(values) if datatype == "BYTES" else values.tobytes()
    inputs = decode_inputs(request(datatype, raw=raw), make_manifest(datatype))
    np.testing.assert_array_equal(inputs["x"], values)
    assert inputs["x"].dtype == DATATYPES[datatype]


@pytest.mark.parametrize("datatype", FIELDS)
def test_a_typed_input_of_every_datatype_is_read_bit_for_bit(datatype: str) -> None:
    values = make_values(datatype)
    message = request(datatype)
    items = values.ravel().tolist()
    items = [item.encode() for item in items] if datatype == "BYTES" else items
    getattr(message.inputs[0].contents, FIELDS[datatype][0]).extend(items)
    inputs = decode_inputs(message, make_manifest(datatype))
    np.testing.assert_array_equal(inputs["x"], values)
    assert inputs["x"].dtype == DATATYPES[datatype]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("datatype", DATATYPES)
def test_an_output_is_raw_when_asked_raw_and_typed_when_it_has_a_typed_form(
    datatype: str, raw: bool
) -> None:
    values = make_values(datatype)
    manifest = make_manifest(datatype)
    reply = make_reply(values)
    message = encode_reply(
        MESSAGES.infer_response, reply, manifest, ["y", "exit"], request_id="7", raw=raw
    )
    assert message.id == "7"
    assert [(one.name, one.datatype, list(one.shape)) for one in message.outputs] == [
        ("y", datatype, [2, 2]),
        ("exit", "BYTES", [2]),
    ]
    if raw or datatype == "FP16":
        wanted = pack_bytes(values) if datatype == "BYTES" else values.tobytes()
        assert list(message.raw_output_contents) == [
            wanted,
            pack_bytes(object_array([b"only"] * 2)),
        ]
    else:
        assert list(message.raw_output_contents) == []
        typed = getattr(message.outputs[0].contents, FIELDS[datatype][0])
        if datatype == "BYTES":
            typed = [item.decode() for item in typed]
        np.testing.assert_array_equal(np.array(list(typed), values.dtype), values.ravel())
        assert list(message.outputs[1].contents.bytes_contents) == [b"only"] * 2


def test_a_reply_says_what_ran() -> None:
    reply = make_reply(make_values("UINT8"))
    message = encode_reply(
        MESSAGES.infer_response, reply, make_manifest(), ["y"], request_id="", raw=True
    )
    assert {name: one.string_param for name, one in message.parameters.items()} == {
        "route": "toy",
        "version": "1",
        "digest": "ab" * 32,
        "energy_source": "none",
        "certificate": "none",
    }


def test_parameters_of_every_choice_become_plain_values() -> None:
    message = MESSAGES.infer_request()
    message.parameters["flag"].bool_param = False
    message.parameters["int"].int64_param = -3
    message.parameters["text"].string_param = "0.5"
    message.parameters["double"].double_param = 0.25
    message.parameters["unsigned"].uint64_param = 2**64 - 1
    message.parameters["nothing"].SetInParent()
    assert decode_parameters(message) == {
        "flag": False,
        "int": -3,
        "text": "0.5",
        "double": 0.25,
        "unsigned": 2**64 - 1,
    }


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (request(raw=b"abc"), "inputs.x: given 3 bytes"),
        (request(raw=b"abcde"), "inputs.x: given 5 bytes"),
        (request("INT8", raw=b"abcd"), "inputs.x.datatype: given 'INT8'"),
        (request("NO", raw=b"abcd"), "inputs.x.datatype: given 'NO'"),
        (request(shape=(4,), raw=b"abcd"), "inputs.x.shape: given"),
        (request(shape=(-2, 2), raw=b"abcd"), "inputs.x.shape: given"),
        (request(shape=(2**62, 2), raw=b"abcd"), "inputs.x: given 4 bytes"),
        (request(shape=(2**62, 2), uint_contents=[1]), "uint_contents: given 1 elements"),
        (request(shape=(0, 2), raw=b""), "inputs.x.shape: given 0 rows"),
        (request(name="z", raw=b"abcd"), "inputs: given 'z'"),
        (request(raw=b"abcd", uint_contents=[1]), "inputs.x.contents: given together with raw"),
        (request(), "inputs.x.contents: given nothing, allowed uint_contents"),
        (request(fp32_contents=[1.0]), "given fp32_contents, allowed uint_contents"),
        (
            request(uint_contents=[1] * 4, int_contents=[1]),
            "given int_contents and uint_contents, allowed uint_contents",
        ),
        (request(uint_contents=[1, 2, 3]), "given 3 elements, shape [2, 2] needs 4"),
        (request(uint_contents=[1, 2, 3, 256]), "given 256, allowed 0 to 255 for UINT8"),
        (MESSAGES.infer_request(), "inputs: ['x'] missing"),
        (
            MESSAGES.infer_request(raw_input_contents=[b"a", b"b"]),
            "raw_input_contents: given 2, allowed one for each of the 0 inputs",
        ),
    ],
)
def test_a_malformed_input_is_refused_with_the_field_named(message: Message, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        decode_inputs(message, make_manifest())
    assert sentence in str(refusal.value)


def test_the_same_input_twice_is_refused() -> None:
    message = request(raw=b"abcd")
    message.inputs.append(message.inputs[0])
    message.raw_input_contents.append(b"abcd")
    with pytest.raises(InvalidInput, match="'x' twice"):
        decode_inputs(message, make_manifest())


def test_a_signed_value_under_its_datatype_is_refused() -> None:
    message = request("INT8", int_contents=[0, 0, -129, 0])
    with pytest.raises(InvalidInput, match="given -129, allowed -128 to 127 for INT8"):
        decode_inputs(message, make_manifest("INT8"))


def test_typed_half_floats_are_refused_since_they_have_no_typed_form() -> None:
    message = request("FP16", fp32_contents=[0.0] * 4)
    with pytest.raises(InvalidInput, match="FP16 has no typed form, allowed raw_input_contents"):
        decode_inputs(message, make_manifest("FP16"))


@pytest.mark.parametrize("name", ["shared_memory_region", "classification"])
@pytest.mark.parametrize("field", ["inputs", "outputs"])
@pytest.mark.parametrize("raw", [bytes(4), None])
@pytest.mark.parametrize("stream", [False, True])
def test_what_http_refuses_of_a_tensor_is_refused_by_name(
    name: str, field: str, raw: bytes | None, stream: bool
) -> None:
    message = request(raw=raw) if raw else request(uint_contents=[1] * 4)
    message.outputs.add(name="y")
    tensor = getattr(message, field)[0]
    tensor.parameters["harmless"].int64_param = 1
    assert decode_request(message, make_manifest(), stream=stream).outputs == ["y"]
    tensor.parameters[name].SetInParent()  # says nothing
    assert decode_request(message, make_manifest(), stream=stream).outputs == ["y"]
    tensor.parameters[name].string_param = "elsewhere"
    with pytest.raises(InvalidInput, match=f"{field}.'{tensor.name}'.parameters: given .*{name}"):
        decode_request(message, make_manifest(), stream=stream)


@given(
    datatype=st.sampled_from(["UINT8", "FP32", "BOOL", "BYTES"]),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), max_size=4),
    raw=st.none() | st.binary(max_size=40),
    numbers=st.lists(st.integers(0, 2**32 - 1), max_size=5),
)
def test_no_input_whatever_raises_anything_but_invalid_input(
    datatype: str, shape: list[int], raw: bytes | None, numbers: list[int]
) -> None:
    message = request(datatype, tuple(shape), raw=raw, uint_contents=numbers)
    try:
        inputs = decode_inputs(message, make_manifest(datatype, (-1, 2)))
    except InvalidInput:
        return
    assert inputs["x"].shape == tuple(shape)
