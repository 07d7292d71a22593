"""Small infer requests at the connection: answered, counted and refused as on the ordinary way."""

import asyncio
import json
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http_connection import MAX_HELD_BYTES, HttpConnection
from tests.bad_input import GOOD, TENSOR, post as post_tiny, read_reply
from tests.live import LiveServer
from tests.serving.wire import INFER, Scene, count, label, play, post, read, split, write_body
from tests.tiny_routes import write_route
from tests.toys import ToyStage, final, until

KNOWN, OTHER = post(write_body(1.0)), post(write_body(2.0))
NEW = post(write_body(3.0))
BAD = post(b'{"inputs": 5}')
CHUNKED = b"transfer-encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(write_body(1.0)), write_body(1.0))
Packets = Sequence[bytes]

# Name -> packets and the number of answers. 1.0 and 2.0 are known, other values are not.
SAME: Mapping[str, tuple[Packets, int]] = {
    "known": ([KNOWN], 1),
    "known, then known": ([KNOWN, OTHER], 2),
    "known and known in one packet": ([KNOWN + OTHER], 2),
    "known and new": ([KNOWN + NEW], 2),
    "new and known": ([NEW + KNOWN], 2),
    "new, known, new, known": ([NEW + KNOWN + post(write_body(4.0)) + OTHER], 4),
    "known and another endpoint": ([KNOWN + post(b"", url=b"/livez", method=b"GET")], 2),
    "another endpoint and known": ([post(b"", url=b"/livez", method=b"GET") + KNOWN], 2),
    "known and bad and known": ([KNOWN + BAD + KNOWN], 3),
    "every byte a packet": ([bytes([byte]) for byte in KNOWN + NEW], 2),
    "head and body": ([KNOWN[:-90], KNOWN[-90:]], 1),
    "several rows": ([post(write_body(1.0, 2.0))] * 2, 2),
    "no cache": ([post(write_body(1.0, no_cache=True))], 1),
    "a confidence that suffices": ([post(write_body(1.0, min_confidence=0.5))] * 2, 2),
    "a confidence that does not": ([post(write_body(1.0, min_confidence=0.95))] * 2, 2),
    "a timeout": ([post(write_body(1.0, timeout_ms=5000))], 1),
    "a timeout of nothing": ([post(write_body(1.0, timeout_ms=-1))], 1),
    "not JSON": ([post(b"{")], 1),
    "the wrong input": ([BAD], 1),
    "no length": ([post(b"", length=b"")], 1),
    "no body": ([post(b"")], 1),
    "a length that is too short": ([post(write_body(1.0)[:20])], 1),
    "chunks": ([post(CHUNKS, CHUNKED, length=b"")], 1),
    "packed": ([post(write_body(1.0), b"content-encoding: gzip")], 1),
    "a lying inference length": (
        [post(write_body(1.0), b"inference-header-content-length: 5000")],
        1,
    ),
    "an expectation": ([post(write_body(1.0), b"expect: 100-continue")], 1),
    "an upgrade": ([post(write_body(1.0), b"connection: upgrade", b"upgrade: h2c")], 1),
    "a last request": ([post(write_body(1.0), b"connection: close")], 1),
    "HTTP/1.0": ([post(write_body(1.0), version=b"1.0")], 1),
    "GET": ([post(write_body(1.0), method=b"GET")], 1),
    "an encoded path": ([post(write_body(1.0), url=b"/v2/models/t%6fy/infer")], 1),
    "a query": ([post(write_body(1.0), url=INFER + b"?a=b")], 1),
    "a body that is too large": ([post(bytes(MAX_HELD_BYTES))], 1),
    "a body beyond what is held": ([post(b" " * MAX_HELD_BYTES + write_body(1.0))], 1),
    "a version that needs escapes": (
        [
            post(write_body(1.0), url=b"/v2/models/auto:toys/versions/1%3Fx/infer"),
            post(write_body(1.0), url=b"/v2/models/auto:toys/versions/1?x/infer"),
        ],
        2,
    ),
    "a task": ([post(write_body(value), url=b"/v2/models/auto:toys/infer") for value in (1, 5)], 2),
}


@pytest.mark.parametrize(("packets", "answers"), SAME.values(), ids=SAME.keys())
@pytest.mark.parametrize("limits", [{}, {"bearer_token": ""}, {"max_body_bytes": 60_000}])
def test_answers_and_counts_are_those_of_the_ordinary_way(
    packets: Packets, answers: int, limits: dict[str, object]
) -> None:
    told: list[object] = []

    async def script(scene: Scene) -> None:
        await scene.teach(1.0, 2.0)
        protocol, wire = scene.connect()
        for number, packet in enumerate(packets):
            protocol.data_received(packet)
            if len(packets) == answers:  # one after the other
                await until(lambda number=number: wire.closing or count(wire.written) > number)
        told.append(wire.written if b"100 Continue" in wire.written else await read(wire, answers))
        await until(lambda: not scene.state.tasks)
        counts = scene.memory.counts()
        told.append((wire.closing, scene.requests(), scene.rows(), counts.hits, counts.misses))

    for connection in (HttpConnection, HttpToolsProtocol):
        play(script, connection=connection, **limits)
    assert told[:2] == told[2:]


def test_a_known_answer_needs_no_task_and_a_new_one_neither() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.data_received(KNOWN)
        assert label(split(wire.written)[0]) == 1.0  # at once
        protocol.data_received(NEW)
        assert not scene.state.tasks
        assert [label(one) for one in await read(wire, 2)] == [1.0, 3.0]

    play(script)


def test_a_request_whose_head_came_before_the_shutdown_is_answered() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.data_received(KNOWN[:-5])
        protocol.shutdown()
        protocol.data_received(KNOWN[-5:])
        (answer,) = await read(wire, None)
        assert label(answer) == 1.0
        assert b"\r\nconnection: close\r\n" in answer[1]

    play(script)


def test_answers_carry_connection_close_while_draining() -> None:
    stage, gate = make_slow()

    async def script(scene: Scene) -> None:
        await teach_slow(scene, gate)
        begun, held = scene.connect(), scene.connect()
        begun[0].data_received(NEW)
        held[0].data_received(KNOWN[:-1])
        scene.engine.draining = True
        gate.set()
        held[0].data_received(KNOWN[-1:])
        for value, (_, wire) in zip((3.0, 1.0), (begun, held), strict=True):
            (answer,) = await read(wire, None)
            assert label(answer) == value
            assert b"\r\nconnection: close\r\n" in answer[1]

    play(script, stage=stage)


def test_a_token_is_asked_for() -> None:
    async def script(scene: Scene) -> None:
        token = b"authorization: Bearer secret"
        body = write_body(1.0)
        answers = await scene.talk(post(body, token), post(body, token), KNOWN, answers=3)
        assert [status for status, _ in answers] == [200, 200, 401]

    play(script, bearer_token="secret")


def make_slow() -> tuple[ToyStage, threading.Event]:
    gate = threading.Event()
    return ToyStage("a", lambda value: final(value, "a"), gate=gate), gate


async def teach_slow(scene: Scene, gate: threading.Event) -> None:
    gate.set()
    await scene.teach(1.0)
    gate.clear()


@pytest.mark.parametrize("part", [KNOWN[:-5], NEW], ids=["in the middle of a body", "behind it"])
def test_a_client_that_goes_is_counted_once_and_leaves_nothing(part: bytes) -> None:
    stage, gate = make_slow()

    async def script(scene: Scene) -> None:
        await teach_slow(scene, gate)
        protocol, wire = scene.connect()
        protocol.data_received(part)
        await asyncio.sleep(0)
        wire.close()
        await until(lambda: scene.requests() == {"ok": 1, "ClientGone": 1})
        assert scene.rows() == {"last_stage": 1}
        gate.set()

    play(script, stage=stage)


def test_an_overload_is_told_and_counted_once() -> None:
    stage, gate = make_slow()

    async def script(scene: Scene) -> None:
        await teach_slow(scene, gate)
        misses = scene.memory.counts().misses
        wires = []
        for value in (2.0, 3.0, 4.0):
            protocol, wire = scene.connect()
            protocol.data_received(post(write_body(value)))
            await until(lambda: len(stage.batches) == 2)  # the first one runs, the second waits
            wires.append(wire)
        assert [status for status, _ in split(wires[2].written)] == [429]
        assert scene.memory.counts().misses == misses + 3
        assert scene.requests() == {"ok": 1, "Overloaded": 1}
        gate.set()
        assert [label((await read(wire, 1))[0]) for wire in wires[:2]] == [2.0, 3.0]

    play(script, stage=stage, engine={"max_queued_rows": 1})


def test_garbage_behind_requests_never_takes_the_answer_of_an_earlier_one() -> None:
    stage, gate = make_slow()
    torn = post(b"2\r\nhello\r\n0\r\n\r\n", CHUNKED, length=b"")

    async def script(scene: Scene) -> None:
        await teach_slow(scene, gate)
        protocol, wire = scene.connect()
        protocol.data_received(NEW + torn)
        assert wire.written == b""
        gate.set()
        first, second = await read(wire, None)
        assert label(first) == 3.0
        assert second[0] == 400
        assert b"request: not HTTP/1.1" in second[1]

    play(script, stage=stage)


def test_a_connection_is_not_idle_while_a_request_is_under_way() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.data_received(KNOWN)
        assert protocol.timeout_keep_alive_task is not None
        for rest in (NEW[:-5], NEW):
            protocol.data_received(KNOWN + rest)
            assert protocol.timeout_keep_alive_task is None
            protocol.data_received(NEW[-5:] if rest != NEW else b"")
        await read(wire, 5)
        assert protocol.timeout_keep_alive_task is not None
        wire.close()

    play(script)


def test_a_client_that_does_not_read_is_not_written_to() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.pause_writing()
        protocol.data_received(KNOWN)
        await until(lambda: scene.requests() == {"ok": 2})
        assert wire.written == b""
        protocol.resume_writing()
        assert label((await read(wire, 1))[0]) == 1.0

    play(script)


def test_a_route_that_goes_between_head_and_body_is_404_and_counted_once() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = scene.connect()
        protocol.data_received(KNOWN[:-5])
        scene.catalog.replace([])
        protocol.data_received(KNOWN[-5:])
        assert [status for status, _ in await read(wire, 1)] == [404]
        assert scene.requests() == {"ok": 1, "UnknownRoute": 1}

    play(script)


def test_a_live_server_answers_a_mixed_row_of_requests_in_order(tmp_path: Path) -> None:
    write_route(tmp_path, stages=1, pipeline="single")
    names = [f"{number}" for number in range(8)]
    with LiveServer(tmp_path) as server:
        for round in range(2):  # in the second half of them are known
            connection = socket.create_connection(("127.0.0.1", server.http_port), timeout=10)
            with connection:
                for name in names:
                    extra = {"id": name, "parameters": {"no_cache": int(name) % 2 == 1}}
                    body = json.dumps({"inputs": GOOD["inputs"], **extra}).encode()
                    connection.sendall(post_tiny("/v2/models/tiny/infer", body))
                    assert read_reply(connection).json()["id"] == name, round
        assert server.metric("sparing_requests_total", result="ok") == 16.0
        assert TENSOR["name"] == "image"
