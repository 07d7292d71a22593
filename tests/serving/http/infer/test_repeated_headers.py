"""Headers read once: what comes again is read and written exactly as if it had come alone."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pytest

from core.errors import InvalidInput
from core.manifest import Manifest
from core.messages import Answer, Outcome, Reply
from serving.http.infer.repeated_headers import RepeatedHeaders, read_again
from serving.http.infer.tensor_body import ParsedRequest, read_request, write_reply
from serving.http.routing import Target
from tests.serving.same_inputs import check_same_inputs
from tests.serving.small_engine import make_answer, make_manifest, make_reply

MANIFEST = make_manifest()
MANY, SIZE_BYTES = 2000, 6  # more headers than are remembered; of a picture


def make_header(size_bytes: int = SIZE_BYTES, rows: int = 1, **more: Any) -> bytes:
    entry = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [rows, 2, 3],
        "parameters": {"binary_data_size": size_bytes},
    }
    return orjson.dumps({"inputs": [entry], **more})


def make_picture(shade: int, rows: int = 1) -> bytes:
    return bytes((shade + place) % 256 for place in range(SIZE_BYTES * rows))


def read(
    headers: RepeatedHeaders,
    header: bytes,
    blob: bytes,
    manifest: Manifest = MANIFEST,
    version: str | None = None,
) -> ParsedRequest:
    return read_body(headers, header + blob, b"%d" % len(header), manifest, version)


def read_body(
    headers: RepeatedHeaders,
    body: bytes,
    length: bytes,
    manifest: Manifest = MANIFEST,
    version: str | None = None,
) -> ParsedRequest:
    """As the endpoint does."""
    target = Target("infer", "small", version)
    known = headers.find(body, length, manifest, target)
    if known is not None:
        return read_again(known, body)
    return headers.read(body, length, manifest, target)


def check_same(asked: ParsedRequest, other: ParsedRequest) -> None:
    """All but the deadlines, which are instants."""
    found, wanted = asked.request, other.request
    check_same_inputs(found, wanted)
    assert found._replace(inputs={}, deadline=None) == wanted._replace(inputs={}, deadline=None)
    assert asked._replace(request=found._replace(inputs={}, deadline=None)) == other._replace(
        request=wanted._replace(inputs={}, deadline=None)
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"id": "7"},
        {"parameters": {"timeout_ms": 50, "no_cache": True, "min_confidence": 0.5}},
        {"parameters": {"binary_data_output": True, "energy_mj": 3}},
        {"outputs": [{"name": "exit", "parameters": {"binary_data": True}}, {"name": "label"}]},
    ],
)
def test_a_repeated_header_is_read_as_it_would_be_alone(more: Mapping[str, Any]) -> None:
    headers, header = RepeatedHeaders(), make_header(**more)
    for shade in (10, 20, 30):
        body = header + make_picture(shade)
        alone = read_request(body, b"%d" % len(header), MANIFEST, "small", "1")
        asked = read_body(headers, body, b"%d" % len(header), MANIFEST, "1")
        check_same(asked, alone)
        assert asked.request.inputs["image"].ravel().tolist() == list(make_picture(shade))


def test_the_same_header_before_other_bytes_gives_the_other_picture() -> None:
    headers, header = RepeatedHeaders(), make_header()
    first, second = (read(headers, header, make_picture(shade)) for shade in (1, 100))
    assert first.request.inputs["image"].ravel().tolist() == list(make_picture(1))
    assert second.request.inputs["image"].ravel().tolist() == list(make_picture(100))


def test_several_inputs_are_each_found_at_their_place() -> None:
    specs = [
        {"name": "image", "datatype": "UINT8", "shape": [-1, 2, 3]},
        {"name": "scale", "datatype": "FP32", "shape": [-1, 2]},
    ]
    manifest = make_manifest(inputs=specs)
    entry = {"datatype": "FP32", "shape": [4, 2], "parameters": {"binary_data_size": 32}}
    table = orjson.loads(make_header(24, rows=4))
    table["inputs"].append({"name": "scale", **entry})
    for pad in range(4):  # the numbers lie aligned in some bodies and in some they do not
        header = orjson.dumps({**table, "pad": "x" * pad})
        headers = RepeatedHeaders()
        for shade in (1, 2, 3):
            scale = np.arange(8, dtype=np.float32) + shade
            body = header + make_picture(shade, rows=4) + scale.tobytes()
            alone = read_request(body, b"%d" % len(header), manifest, "small", None)
            check_same(read_body(headers, body, b"%d" % len(header), manifest), alone)
            np.testing.assert_array_equal(alone.request.inputs["scale"].ravel(), scale)


@pytest.mark.parametrize("datatype", ["BOOL", "BYTES"])
def test_bytes_that_must_be_looked_at_are_looked_at_each_time(datatype: str) -> None:
    manifest = make_manifest(inputs=[{"name": "x", "datatype": datatype, "shape": [-1]}])
    good, bad = {
        "BOOL": (b"\0\0\0\0\1", b"\0\0\0\0\7"),
        "BYTES": (b"\1\0\0\0a", b"\2\0\0\0a"),
    }[datatype]
    shape = [5] if datatype == "BOOL" else [1]
    entry = {"name": "x", "datatype": datatype, "shape": shape}
    header = orjson.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": 5}}]})
    headers = RepeatedHeaders()
    for _ in range(2):
        read(headers, header, good, manifest)
        with pytest.raises(InvalidInput, match=r"inputs\.x"):
            read(headers, header, bad, manifest)


@pytest.mark.parametrize("blob", [b"", make_picture(1)[:-1], make_picture(1) + b"x"])
def test_a_known_header_before_another_length_is_checked_afresh(blob: bytes) -> None:
    headers, header = RepeatedHeaders(), make_header()
    for _ in range(2):
        read(headers, header, make_picture(1))
        with pytest.raises(InvalidInput, match=r"body|binary_data_size"):
            read(headers, header, blob)


@pytest.mark.parametrize("length", [b"-1", b"x", b"", b"9999", b"99999", b"\xb2"])
def test_a_known_body_with_a_lying_header_length_is_refused(length: bytes) -> None:
    headers, header = RepeatedHeaders(), make_header()
    body = header + make_picture(1)
    for _ in range(2):
        read(headers, header, make_picture(1))
        with pytest.raises(InvalidInput, match="Inference-Header-Content-Length"):
            read_body(headers, body, length)


def test_another_route_version_or_digest_is_checked_afresh() -> None:
    headers, header = RepeatedHeaders(), make_header()
    read(headers, header, make_picture(1))
    assert read(headers, header, make_picture(1), version="2").request.version == "2"
    assert read(headers, header, make_picture(1)).request.version is None
    length = b"%d" % len(header)
    body = header + make_picture(1)
    auto = Target("infer", "auto:shades")
    assert headers.find(body, length, MANIFEST, auto) is None
    assert headers.read(body, length, MANIFEST, auto).request.route == "auto:shades"
    wider = make_manifest(inputs=[{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 4]}])
    with pytest.raises(InvalidInput, match=r"inputs\.image\.shape"):
        read(headers, header, make_picture(1), wider.model_copy(update={"digest": b"other"}))


def test_a_timeout_gives_every_request_its_own_deadline() -> None:
    headers, header = RepeatedHeaders(), make_header(parameters={"timeout_ms": 1500})
    for shade in range(3):
        before = time.monotonic()
        deadline = read(headers, header, make_picture(shade)).request.deadline
        assert deadline is not None
        assert before + 1.5 <= deadline <= time.monotonic() + 1.5


def test_nothing_of_a_picture_is_kept() -> None:
    headers, header = RepeatedHeaders(), make_header()
    for shade in range(3):
        body = header + make_picture(shade)
        before = sys.getrefcount(body)
        asked = read_body(headers, body, b"%d" % len(header))
        assert sys.getrefcount(body) > before  # the inputs are a view of it
        del asked
        assert sys.getrefcount(body) == before


def test_few_and_short_headers_are_kept() -> None:
    headers = RepeatedHeaders()
    long_header = make_header(pad="x" * 4000)
    check_same(
        read(headers, long_header, make_picture(1)), read(headers, long_header, make_picture(1))
    )
    read(headers, make_header(id="7"), make_picture(1))
    assert not headers._requests
    for number in range(MANY):
        read(headers, make_header(pad=number), make_picture(1))
        assert len(headers._requests) <= 256
    check_same(
        read(headers, make_header(pad=0), make_picture(9)),
        read(RepeatedHeaders(), make_header(pad=0), make_picture(9)),
    )


# Replies ------------------------------------------------------------------------------------------

NAMES = [
    "label", "probabilities", "confidence", "exit", "stopped_by", "cached", "macs", "energy_mj",
    "latency_ms",
]  # fmt: skip


def make_row(shade: float = 0.5, exit: str = "shade", **changes: Any) -> Answer:
    outputs: dict[str, Any] = {
        "label": np.int64(shade * 10),
        "probabilities": np.array([1 - shade, shade], np.float32),
    }
    outcome = Outcome({**outputs, **changes}, shade, exit)
    return Answer(outcome, "cache" if shade > 0.7 else "confidence", shade > 0.7, 7, None, shade)


def ask(*names: str, id: str = "", binary: bool = True) -> ParsedRequest:
    request: dict[str, Any] = {"parameters": {"binary_data_output": binary}, "id": id}
    request["outputs"] = [{"name": name} for name in names]
    header = make_header(**request)
    return read_request(header + make_picture(1), b"%d" % len(header), MANIFEST, "small", None)


def check_written(
    headers: RepeatedHeaders, reply: Reply, asked: ParsedRequest, manifest: Manifest = MANIFEST
) -> None:
    """Twice, since the second one comes from what the first one left."""
    for _ in range(2):
        assert headers.write(reply, manifest, asked) == write_reply(reply, manifest, asked)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("id", ["", "7"])
@pytest.mark.parametrize("names", [[], ["label"], ["probabilities", "label"], NAMES, NAMES[::-1]])
def test_replies_are_written_byte_for_byte_as_alone(
    names: list[str], id: str, binary: bool
) -> None:
    headers, asked = RepeatedHeaders(), ask(*names, id=id, binary=binary)
    for shade in (0.125, 0.5, 0.875):
        check_written(headers, make_reply(make_row(shade)), asked)


@pytest.mark.parametrize("names", [["label", "probabilities"], ["exit"], NAMES])
def test_replies_of_other_shapes_and_sizes_are_not_mixed_up(names: list[str]) -> None:
    headers, asked = RepeatedHeaders(), ask(*names)
    for _ in range(2):
        for exit in ("shade", "a", "a longer stage", ""):
            for rows in (1, 2, 3):
                check_written(headers, make_reply(*[make_row(0.25, exit)] * rows), asked)
        wide = np.zeros(5, np.float32)
        check_written(headers, make_reply(make_row(0.5, probabilities=wide)), asked)
        check_written(headers, make_reply(make_row(0.5), make_row(0.875, "b")), asked)


def test_words_of_one_total_size_are_not_mixed_up() -> None:
    headers, asked = RepeatedHeaders(), ask("exit", "stopped_by")
    check_written(headers, make_reply(make_row(0.5, "ab"), make_row(0.5, "c")), asked)
    check_written(headers, make_reply(make_row(0.5, "a"), make_row(0.5, "bc")), asked)
    check_written(headers, make_reply(make_row(0.5, "abcd"), make_row(0.875, "c")), asked)


def test_names_in_another_order_or_number_are_not_mixed_up() -> None:
    headers = RepeatedHeaders()
    for names in (["label", "macs"], ["macs", "label"], ["label"], ["macs"], []):
        check_written(headers, make_reply(make_row()), ask(*names))


def test_other_digests_and_energy_sources_are_not_mixed_up() -> None:
    headers, asked = RepeatedHeaders(), ask()
    reply = make_reply(make_row())
    check_written(headers, reply, asked)
    check_written(headers, reply._replace(digest="cd" * 32, version="2"), asked)
    check_written(headers, reply._replace(digest="ef" * 32, route="other"), asked)
    check_written(headers, reply._replace(energy_source="model"), asked)


@pytest.mark.parametrize("label", [np.int32(3), np.int8(0), np.float32(0), np.bool_(True)])
def test_numbers_of_another_type_are_written_as_declared(label: np.generic) -> None:
    headers = RepeatedHeaders()
    for names in (["label"], ["probabilities", "label"]):
        check_written(headers, make_reply(make_row(label=label)), ask(*names))
        check_written(headers, make_reply(make_row()), ask(*names))


def test_numbers_in_another_memory_order_are_written_in_theirs() -> None:
    manifest = make_manifest(outputs=[{"name": "mask", "datatype": "FP32", "shape": [-1, 2, 3]}])
    mask = np.arange(6, dtype=np.float32).reshape(2, 3)
    headers, asked = RepeatedHeaders(), ask()._replace(names=["mask"], binary=["mask"])
    for array in (mask, np.asfortranarray(mask), mask[::-1], mask.T.reshape(2, 3)):
        check_written(headers, make_reply(make_answer({"mask": array})), asked, manifest)


def test_few_reply_headers_are_kept() -> None:
    headers, asked = RepeatedHeaders(), ask("label", "exit")
    for size in range(MANY):
        headers.write(make_reply(make_row(0.5, "x" * (size % 700))), MANIFEST, asked)
        assert len(headers._replies) <= 256
    check_written(headers, make_reply(make_row()), asked)


def test_a_kept_reply_header_is_not_the_callers_to_change() -> None:
    headers, asked = RepeatedHeaders(), ask()
    for _ in range(3):
        lines, _body = headers.write(make_reply(make_row()), MANIFEST, asked)
        assert len(lines) == 2
        lines.append((b"connection", b"close"))
