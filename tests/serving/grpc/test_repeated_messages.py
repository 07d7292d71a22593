"""Messages read once: what comes again is read and answered exactly as if it had come alone."""

import sys
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from serving.grpc.codec import ParsedRequest, decode_request, encode_reply
from serving.grpc.messages import Messages
from serving.grpc.repeated_messages import RepeatedReplies, RepeatedRequests, find_raw_input
from serving.oip.outputs import select_outputs
from tests.serving.grpc.open_endpoint import GrpcScene, infer_request, run
from tests.serving.same_inputs import check_same_inputs
from tests.serving.small_engine import make_answer, make_manifest, make_reply

MESSAGES = Messages()
MANIFEST = make_manifest()
MANY, SIZE_BYTES = 2000, 6  # more messages than are remembered; of a picture


def make_message(blob: bytes, route: str = "small", rows: int = 1, **more: Any) -> Any:
    message = MESSAGES.infer_request(model_name=route, raw_input_contents=[blob], **more)
    message.inputs.add(name="image", datatype="UINT8", shape=[rows, 2, 3])
    return message


def make_picture(shade: int, rows: int = 1) -> bytes:
    return bytes((shade + place) % 256 for place in range(SIZE_BYTES * rows))


def make_outputs(label: int) -> dict[str, Any]:
    return {"label": np.int64(label), "probabilities": np.full(2, label, np.float32)}


def decode(raw: bytes) -> ParsedRequest:
    return decode_request(MESSAGES.infer_request.FromString(raw), MANIFEST, stream=False)


def see(requests: RepeatedRequests, raw: bytes) -> int:
    start = find_raw_input(raw)
    requests.remember(raw, start, decode(raw), MANIFEST)
    return start


def check_same(asked: ParsedRequest, other: ParsedRequest) -> None:
    found, wanted = asked.request, other.request
    check_same_inputs(found, wanted)
    nothing: dict[str, Any] = {}
    assert asked._replace(request=found._replace(inputs=nothing)) == other._replace(
        request=wanted._replace(inputs=nothing)
    )


@pytest.mark.parametrize("rows", [1, 3, 200])  # 200: lengths of more than one byte
def test_a_message_that_comes_again_is_read_as_the_first_time(rows: int) -> None:
    requests = RepeatedRequests()
    first = make_message(make_picture(1, rows), rows=rows, model_version="1")
    first.parameters["timeout_ms"].int64_param = 500
    first.parameters["min_confidence"].double_param = 0.5
    first.outputs.add(name="label")
    see(requests, first.SerializeToString())
    first.raw_input_contents[0] = make_picture(77, rows)
    raw = first.SerializeToString()
    start = find_raw_input(raw)
    known = requests.find(raw, start)
    assert known is not None
    assert known.digest == MANIFEST.digest
    check_same(known.read(raw, start), decode(raw))


def test_numbers_that_lie_unaligned_in_the_message_become_aligned() -> None:
    table = MANIFEST.model_dump()
    table["inputs"] = [{"name": "image", "datatype": "FP32", "shape": [-1, 1]}]
    manifest = type(MANIFEST).model_validate(table)
    for route in ("s", "sm", "sma", "smal"):
        values = np.array([[1.5]], np.float32)
        message = MESSAGES.infer_request(model_name=route, raw_input_contents=[values.tobytes()])
        message.inputs.add(name="image", datatype="FP32", shape=[1, 1])
        raw = message.SerializeToString()
        start, requests = find_raw_input(raw), RepeatedRequests()
        requests.remember(raw, start, decode_request(message, manifest, stream=False), manifest)
        known = requests.find(raw, start)
        assert known is not None
        array = known.read(raw, start).request.inputs["image"]
        assert array.flags.aligned
        np.testing.assert_array_equal(array, values)


def test_every_difference_before_the_picture_is_another_message() -> None:
    requests = RepeatedRequests()
    see(requests, make_message(make_picture(1)).SerializeToString())
    flagged = make_message(make_picture(1))
    flagged.parameters["no_cache"].bool_param = True
    for other in (
        make_message(make_picture(1), route="smaller"),
        make_message(make_picture(1), model_version="1"),
        make_message(make_picture(1, 2), rows=2),
        make_message(make_picture(1)[:-1]),
        flagged,
    ):
        raw = other.SerializeToString()
        assert requests.find(raw, find_raw_input(raw)) is None


def test_a_message_with_an_id_is_not_remembered() -> None:
    requests = RepeatedRequests()
    raw = make_message(make_picture(1), id="7").SerializeToString()
    assert requests.find(raw, see(requests, raw)) is None


def test_a_raw_input_is_found_only_where_it_is_the_one_that_ends_the_message() -> None:
    head = make_message(b"")
    head.ClearField("raw_input_contents")
    start = head.SerializeToString()
    blob = make_picture(1)
    field = b"\x3a\x06" + blob
    assert find_raw_input(start + field) == len(start) + 2
    assert find_raw_input(start + b"\x3a\x86\x80\x00" + blob) == len(start) + 4  # a longer length
    for raw in (
        b"",
        start,
        start + field[:-1],
        start + field + b"\x00",
        start + field + field,
        field + start,
        start + b"\x45\x00\x00\x00\x00" + field,  # a field of another kind
        start + b"\x42\x02\x3a\x06" + field,  # an unknown field
        start + b"\x3a",
        start + b"\x3a\xff",
        start + b"\x3a\xff\xff\xff\xff\x7f",
        b"\x0a\x80\x80\x80\x80\x80" + field,
        b"\x0a\xd0\x0f" + b"a" * 2000 + b"\x0a\xd0\x0f" + b"a" * 2000 + field,  # too far off
    ):
        assert find_raw_input(raw) == 0, raw


def test_where_a_raw_input_is_found_protobuf_finds_the_same() -> None:
    generator = np.random.default_rng(5)
    good = bytearray(make_message(make_picture(1), model_version="1").SerializeToString())
    found = 0
    for _ in range(3000):
        raw = bytearray(good)
        raw[generator.integers(len(raw))] = generator.integers(256)
        start = find_raw_input(bytes(raw))
        try:
            message = MESSAGES.infer_request.FromString(bytes(raw))
        except (DecodeError, UnicodeDecodeError):
            continue  # such a message is never remembered
        if start:
            assert list(message.raw_input_contents) == [bytes(raw[start:])]
            found += 1
    assert found > 100


@pytest.mark.parametrize("id", ["", "seven", "é" * 200])
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_a_reply_says_what_protobuf_would_write(rows: int, id: str) -> None:
    replies = RepeatedReplies(MESSAGES.infer_response)
    requested = [*[spec.name for spec in MANIFEST.outputs], "exit", "confidence"]
    names = select_outputs(MANIFEST, requested)
    for shade in range(3):
        reply = make_reply(*[make_answer(make_outputs(shade + row)) for row in range(rows)])
        wanted = encode_reply(
            MESSAGES.infer_response, reply, MANIFEST, names, request_id=id, raw=True
        )
        written = replies.write(reply, MANIFEST, names, id)
        assert MESSAGES.infer_response.FromString(written) == wanted


def test_replies_of_other_routes_and_facts_are_not_mixed_up() -> None:
    replies = RepeatedReplies(MESSAGES.infer_response)
    names = select_outputs(MANIFEST, [])
    reply = make_reply(make_answer())
    changes: list[dict[str, Any]] = [
        {name: "other"} for name in ("route", "version", "digest", "certificate", "energy_source")
    ]
    for change in changes:
        for other in (reply, reply._replace(**change)):
            written = replies.write(other, MANIFEST, names, "")
            assert MESSAGES.infer_response.FromString(written) == encode_reply(
                MESSAGES.infer_response, other, MANIFEST, names, request_id="", raw=True
            )


def test_only_so_many_messages_are_remembered() -> None:
    requests, replies = RepeatedRequests(), RepeatedReplies(MESSAGES.infer_response)
    for number in range(MANY):
        see(requests, make_message(make_picture(1), route=f"r{number}").SerializeToString())
        reply = make_reply(make_answer())._replace(route=f"r{number}")
        replies.write(reply, MANIFEST, select_outputs(MANIFEST, []), "")
    assert sys.getsizeof(requests._known) < sys.getsizeof(dict.fromkeys(range(MANY)))
    assert len(requests._known) <= 256
    assert len(replies._starts) <= 256


def test_a_route_that_was_replaced_is_checked_again() -> None:
    async def test(scene: GrpcScene) -> None:
        await scene.answered()
        await scene.answered()
        scene.engine.catalog.replace([])
        refusal = await scene.refusal(infer_request())
        assert "no route is named 'sum'" in str(refusal.details())
        assert scene.counts.seen == [("sum", "ok"), ("sum", "ok"), ("sum", "UnknownRoute")]

    run(test)
