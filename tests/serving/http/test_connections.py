"""How long a connection may wait for its client, and how it ends."""

import asyncio
import logging
import threading
from functools import partial

import pytest

from harness.waiting import until
from serving.http.connection import MAX_DROPPED_BYTES
from serving.http.connections import ConnectionState
from tests.fakes.toys import ToyStage, final
from tests.serving.http.conversations import CHUNKED, GET, KNOWN, NEW
from tests.serving.http.wire import (
    INFER,
    Scene,
    connect,
    find_connections,
    label,
    play,
    post,
    read,
    split,
    write_body,
)


def wait(scene: Scene, seconds: float) -> None:
    """Two looks: the first sees the state that the second one finds to last."""
    connections = find_connections(scene)
    connections.sweep.advance(0.0)
    connections.sweep.advance(seconds)


@pytest.mark.parametrize(
    ("packet", "state", "limit_s", "status"),
    [
        (b"", ConnectionState.AWAITING_REQUEST, 30.0, None),
        (b"GET /v2/hea", ConnectionState.AWAITING_HEAD, 30.0, None),
        (b"GET /v2 HTTP/1.1\r\nhost: t\r\nx: ", ConnectionState.AWAITING_HEAD, 30.0, 408),
        (GET, ConnectionState.IDLE, 75.0, None),
        (GET + b"GET /v2", ConnectionState.AWAITING_HEAD, 30.0, None),
        (GET + GET[:-4], ConnectionState.AWAITING_HEAD, 30.0, 408),
    ],
    ids=[
        "nothing",
        "half a line",
        "half a head",
        "a request",
        "a request and half a line",
        "a request and half a head",
    ],
)
def test_a_client_that_sends_no_more_is_ended_in_time(
    packet: bytes, state: ConnectionState, limit_s: float, status: int | None
) -> None:
    async def script(scene: Scene) -> None:
        protocol, wire = connect(scene, packet)
        await until(lambda: protocol.observe()[0] is state)
        answered = len(split(wire.written))
        wait(scene, limit_s - 0.1)
        assert not wire.is_closing()
        find_connections(scene).sweep.advance(0.1)
        assert wire.is_closing()
        statuses = [status for status, _ in split(wire.written)][answered:]
        assert statuses == ([] if status is None else [status])
        if status is not None:
            assert b"head: incomplete after 30 s" in wire.written
            assert b"\r\nconnection: close\r\n" in wire.written

    play(script, write_timeout_s=10.0)


def test_a_head_byte_by_byte_gets_no_longer() -> None:
    async def script(scene: Scene) -> None:
        protocol, wire = connect(scene)
        for byte in KNOWN[:60]:
            protocol.data_received(bytes([byte]))
            find_connections(scene).sweep.advance(0.5)
        assert not wire.closing
        find_connections(scene).sweep.advance(0.5)
        assert [status for status, _ in split(wire.written)] == [408]

    play(script, write_timeout_s=10.0)


def test_a_connection_in_use_is_left_alone() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = connect(scene)
        for count in range(1, 11):
            protocol.data_received(KNOWN[:-5])
            find_connections(scene).sweep.advance(0.4)
            protocol.data_received(KNOWN[-5:])
            find_connections(scene).sweep.advance(29.0)
            assert [label(one) for one in await read(wire, count)] == [1.0] * count

    play(script, write_timeout_s=10.0)


@pytest.mark.parametrize("url", [b"/v2/models/toy/infer", b"/v1/routes/toy/predict"])
@pytest.mark.parametrize("seen", [True, False], ids=["known address", "new address"])
def test_half_a_body_is_answered_408(url: bytes, seen: bool) -> None:
    async def script(scene: Scene) -> None:
        if seen:
            await scene.teach(1.0)
        protocol, wire = connect(scene, post(write_body(1.0), url=url)[:-5])
        wait(scene, 0.5)  # what was held back until its body is there goes the ordinary way
        await until(lambda: protocol.observe()[0] is ConnectionState.ANSWERING)
        await asyncio.sleep(0)
        scene.endpoint._bodies.uploads.sweep.advance(20.0)
        ((status, answer),) = await read(wire, None)
        assert (status, b"body: no byte came for 20 s" in answer) == (408, True)
        assert b"\r\nconnection: close\r\n" in answer
        assert scene.requests()["RequestTimeout"] == 1

    play(script, write_timeout_s=10.0)


def test_the_rest_of_a_body_that_was_refused_gets_no_longer() -> None:
    async def script(scene: Scene) -> None:
        _, wire = connect(scene, post(b"x", CHUNKED, url=b"/nowhere", length=b"")[:-1])
        ((status, _),) = await read(wire, 1)
        assert status == 404
        wait(scene, 19.9)
        find_connections(scene).sweep.advance(0.1)
        assert wire.closing
        assert len(split(wire.written)) == 1

    play(script, write_timeout_s=10.0)


def test_a_client_that_does_not_read_its_answer_is_ended() -> None:
    async def script(scene: Scene) -> None:
        protocol, wire = connect(scene)
        wire.unread_bytes = 1_000_000
        protocol.pause_writing()
        wait(scene, 9.9)
        wire.unread_bytes -= 100_000  # fast enough
        find_connections(scene).sweep.advance(0.1)
        find_connections(scene).sweep.advance(9.9)
        wire.unread_bytes -= 100  # not any more
        assert not wire.closing
        find_connections(scene).sweep.advance(0.1)
        assert wire.closing

    play(script, write_timeout_s=10.0)


def test_a_client_that_reads_one_answer_after_another_is_left_alone() -> None:
    async def script(scene: Scene) -> None:
        protocol, wire = connect(scene)
        wire.unread_bytes = 1_000_000  # all the time: what was read is written anew
        protocol.pause_writing()
        protocol.data_received(GET * 2)
        for _ in range(3):
            wait(scene, 9.9)
            protocol.resume_writing()
            await read(wire, 2)
            protocol.pause_writing()
            protocol.data_received(GET * 2)
            wire.written = b""
            find_connections(scene).sweep.advance(0.1)
            assert not wire.closing
        find_connections(scene).sweep.advance(10.0)
        assert wire.closing

    play(script, write_timeout_s=10.0)


REFUSED = [
    post(b"x", url=b"/nowhere", version=b"1.0", length=b"1000"),
    post(b"x", b"connection: close", url=b"/nowhere", length=b"1000"),
    post(b"x", url=b"/v2/models/toy/infer?", length=b"200000000", version=b"1.0"),
    post(b"x", b"host: again"),
    post(b"zz", CHUNKED, b"expect: 100-continue", url=b"/v1/routes/toy/predict", length=b""),
    b"GET /v2 HTTP/1.1\r\nx: " + b"v" * 70_000,
]


@pytest.mark.parametrize("packet", REFUSED, ids=["1.0", "last", "413", "400", "chunk", "431"])
def test_a_refused_client_that_sends_on_is_heard_out_for_a_moment(packet: bytes) -> None:
    async def script(scene: Scene) -> None:
        for ends in ("in time", "by bytes", "by itself"):
            protocol, wire = connect(scene)
            wire.hears_end = False
            protocol.data_received(packet)
            ((status, answer),) = await read(wire, 1)
            assert status in {400, 404, 413, 431}
            assert b"\r\nconnection: close\r\n" in answer
            await until(lambda: protocol.observe()[0] is ConnectionState.REFUSED)  # noqa: B023
            protocol.data_received(KNOWN * 10)
            wait(scene, 1.9)
            assert not wire.closing
            if ends == "in time":
                find_connections(scene).sweep.advance(0.1)
                assert wire.closing
            elif ends == "by bytes":
                protocol.data_received(bytes(MAX_DROPPED_BYTES))
                assert wire.closing
            else:
                assert not protocol.eof_received()
                wire.close()
            assert len(split(wire.written)) == 1
            await until(lambda: not scene.state.tasks)

    play(script)


def test_a_client_that_sends_no_more_gets_its_answers_and_is_closed() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"), gate=gate)

    async def script(scene: Scene) -> None:
        gate.set()
        await scene.teach(1.0)

        def new(value: float, url: bytes = INFER) -> bytes:
            return post(write_body(value), url=url)

        for packet, values in (
            (new(3.0), [3.0]),
            (new(4.0) + KNOWN, [4.0, 1.0]),
            (new(5.0, INFER + b"?") + KNOWN, [5.0, 1.0]),  # by a task
            (new(6.0) + KNOWN + KNOWN[:-5], [6.0, 1.0]),  # the last one is not there in full
            (new(7.0) + KNOWN[:20], [7.0]),
        ):
            gate.clear()
            protocol, wire = connect(scene, packet)
            assert protocol.eof_received()
            assert not wire.closing
            gate.set()
            assert [label(one) for one in await read(wire, None)] == values
            await until(lambda: not scene.state.tasks)

    play(script, stage=stage)


@pytest.mark.parametrize("packet", [b"", GET, b"GET /v2", NEW[:-5], KNOWN[:-5], KNOWN])
def test_a_client_that_sends_no_more_is_closed_where_nothing_is_to_answer(packet: bytes) -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = connect(scene, packet)
        await until(lambda: not scene.state.tasks)
        assert not protocol.eof_received()
        wire.close()

    play(script)


def test_a_client_that_is_lost_cancels_all_its_requests() -> None:
    gate = threading.Event()
    stage = ToyStage("a", lambda value: final(value, "a"), gate=gate)

    async def script(scene: Scene) -> None:
        gate.set()
        await scene.teach(1.0)
        gate.clear()
        for packet in (
            NEW,
            post(write_body(3.0), version=b"1.1", url=b"http://t/v2/models/toy/infer") + KNOWN,
        ):
            protocol, wire = connect(scene, packet)
            for _ in range(5):
                await asyncio.sleep(0)
            assert protocol.eof_received()
            wire.abort()
            before = scene.requests().get("ClientGone", 0)
            await until(partial(lambda n: scene.requests().get("ClientGone", 0) > n, before))
        gate.set()

    play(script, stage=stage)


def test_what_clients_do_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def script(scene: Scene) -> None:
        connections = find_connections(scene)
        for _ in range(300):
            await scene.talk(b"GARBAGE\r\n\r\n", answers=None)
            connections.sweep.advance(0.1)
        assert scene.requests() == {"InvalidInput": 300}

    with caplog.at_level(logging.INFO, "sparing"):
        play(script)
    assert [record.getMessage() for record in caplog.records] == [
        "HTTP connections since the last such line: 1 refused with 400"
    ]
