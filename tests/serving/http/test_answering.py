"""Replies in their order: streamed ones, and those to requests whose head comes again."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pytest

from harness.waiting import until
from serving.http.answering import Answer
from serving.http.asgi import AsgiApplication
from serving.http.connections import ConnectionState
from serving.http.routing import Incoming
from serving.http.status import Response
from tests.serving.http.conversations import GET, KNOWN, NEW, OTHER
from tests.serving.http.wire import DATE, Scene, connect, play, post, read, split, write_body

EVENTS = (b"content-type", b"text/event-stream")


class Streaming:
    """Answers every request with these pieces, one whenever a test says so."""

    def __init__(self, *pieces: bytes, fails: bool = False) -> None:
        self._pieces = pieces
        self._fails = fails
        self.go_on = asyncio.Semaphore(0)
        self.sent = 0
        self.ended = False

    async def answer(self, _incoming: Incoming) -> Response:
        return 200, [EVENTS], self._send()

    async def _send(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self._pieces:
                await self.go_on.acquire()
                self.sent += 1
                yield piece
            if self._fails:
                raise RuntimeError("the stage broke")
        finally:
            self.ended = True

    def release(self) -> None:
        for _ in self._pieces:
            self.go_on.release()


HEAD_LINES = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKS = b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
KINDS: Mapping[str, tuple[bytes, bytes, bool]] = {
    "HTTP/1.1": (GET, b"transfer-encoding: chunked\r\n\r\n" + CHUNKS, False),
    "HTTP/1.0": (
        post(b"", url=b"/v2", method=b"GET", version=b"1.0"),
        b"connection: close\r\n\r\nabc",
        True,
    ),
    "the last": (
        post(b"", b"connection: close", url=b"/v2", method=b"GET"),
        b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n" + CHUNKS,
        True,
    ),
    "HEAD": (
        post(b"", url=b"/v2", method=b"HEAD"),
        b"transfer-encoding: chunked\r\n\r\n",
        False,
    ),
}


@pytest.mark.parametrize(("request_", "framed", "closes"), KINDS.values(), ids=KINDS.keys())
def test_a_stream_is_framed_as_its_client_understands(
    request_: bytes, framed: bytes, closes: bool
) -> None:
    async def script(scene: Scene) -> None:
        streaming = Streaming(b"a", b"", b"bc")
        streaming.release()
        protocol, wire = scene.connect(streaming.answer)
        protocol.data_received(request_)
        await until(lambda: bool(wire.written) and not scene.state.tasks)
        assert DATE.sub(b"", wire.written) == HEAD_LINES + framed
        assert wire.closing == closes

    play(script)


def test_a_stream_goes_out_piece_by_piece_and_the_next_reply_after_it() -> None:
    async def script(scene: Scene) -> None:
        streaming = Streaming(b"a", b"bc")

        async def answer(incoming: Incoming) -> Response:
            if incoming.path == "/stream":
                return await streaming.answer(incoming)
            return await scene.endpoint.answer(incoming)

        protocol, wire = scene.connect(answer)
        protocol.data_received(post(b"", url=b"/stream", method=b"GET") + GET)
        streaming.go_on.release()
        await until(lambda: wire.written.endswith(b"1\r\na\r\n"))
        streaming.go_on.release()
        await until(lambda: b"0\r\n\r\nHTTP/1.1 200 OK\r\n" in wire.written)
        assert not wire.closing

    play(script)


def test_a_stream_waits_for_a_client_that_does_not_read() -> None:
    async def script(scene: Scene) -> None:
        streaming = Streaming(b"a", b"b", b"c", b"d")
        protocol, wire = scene.connect(streaming.answer)
        protocol.data_received(GET)
        streaming.go_on.release()
        await until(lambda: wire.written.endswith(b"a\r\n"))
        protocol.pause_writing()
        streaming.release()
        await until(lambda: streaming.sent == 2)
        for _ in range(5):
            await asyncio.sleep(0)
        assert streaming.sent == 2
        assert wire.written.endswith(b"a\r\n")
        protocol.resume_writing()
        await until(lambda: wire.written.endswith(b"d\r\n0\r\n\r\n"))

    play(script)


@pytest.mark.parametrize("paused", [False, True])
def test_a_stream_ends_with_its_client(paused: bool) -> None:
    async def script(scene: Scene) -> None:
        streaming = Streaming(b"a", b"b", b"c")
        protocol, wire = scene.connect(streaming.answer)
        protocol.data_received(GET)
        streaming.go_on.release()
        await until(lambda: wire.written.endswith(b"a\r\n"))
        if paused:
            protocol.pause_writing()
            streaming.go_on.release()
            await until(lambda: streaming.sent == 2)
        wire.close()
        await until(lambda: streaming.ended)
        assert wire.written.endswith(b"a\r\n")

    play(script)


def test_a_stream_that_fails_is_cut_off_and_never_looks_complete(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(scene: Scene) -> None:
        streaming = Streaming(b"a", fails=True)
        streaming.release()
        protocol, wire = scene.connect(streaming.answer)
        protocol.data_received(GET + GET)
        await until(lambda: wire.closing)
        assert wire.written.endswith(b"1\r\na\r\n")

    with caplog.at_level(logging.CRITICAL, "sparing.http"):
        play(script)


def test_bytes_that_are_no_request_do_not_get_into_a_stream() -> None:
    async def script(scene: Scene) -> None:
        streaming = Streaming(b"a", b"b")
        protocol, wire = scene.connect(streaming.answer)
        protocol.data_received(post(b"2\r\nx", b"transfer-encoding: chunked", length=b""))
        streaming.go_on.release()
        await until(lambda: wire.written.endswith(b"a\r\n"))
        protocol.data_received(b"xx")
        await until(lambda: wire.closing)
        assert wire.written.endswith(b"a\r\n")

    play(script)


class Host:
    """An ASGI server's side of one request."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.left = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def run(self, scene: Scene, answer: Answer) -> None:
        scene.endpoint.answer = answer  # type: ignore[method-assign,assignment]
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "client": None}
        scope |= {"headers": [], "query_string": b""}
        await AsgiApplication(scene.endpoint)(scope, self.receive, self.send)

    def pieces(self) -> list[bytes]:
        return [message["body"] for message in self.sent[1:]]


def test_a_stream_over_asgi_has_the_same_pieces_and_ends_with_its_client() -> None:
    async def script(scene: Scene) -> None:
        whole, host = Streaming(b"a", b"bc"), Host()
        whole.release()
        await host.run(scene, whole.answer)
        assert host.sent[0]["headers"] == [EVENTS]
        assert host.pieces() == [b"a", b"bc", b""]
        assert [message.get("more_body", False) for message in host.sent[1:]] == [True, True, False]
        left, host = Streaming(b"a", b"b"), Host()
        running = asyncio.create_task(host.run(scene, left.answer))
        left.go_on.release()
        await until(lambda: host.pieces() == [b"a"])
        host.left.set()
        await running
        assert left.ended
        assert host.pieces() == [b"a"]

    play(script)


AGAIN = post(write_body(1.0), b"x: a")
SAME_SIZE = AGAIN.replace(b"x: a", b"x: b")
REPEATED: Mapping[str, Sequence[bytes]] = {
    "the same": [KNOWN] * 3,
    "the same head": [KNOWN, OTHER, NEW, KNOWN],
    "another head of the same size": [AGAIN, SAME_SIZE, AGAIN],
    "another size": [KNOWN, post(write_body(1.25)), KNOWN],
    "in two packets": [KNOWN, KNOWN[:-5], KNOWN[-5:], KNOWN],
    "the head alone": [KNOWN, KNOWN[: -len(write_body(1.0))], write_body(1.0), OTHER],
    "two in a packet": [KNOWN, KNOWN + OTHER, KNOWN],
    "one and a half in a packet": [KNOWN, KNOWN + OTHER[:-7], OTHER[-7:], KNOWN],
    "behind another": [KNOWN, GET + KNOWN, KNOWN],
    "a body that is none": [KNOWN, KNOWN.replace(b"inputs", b"output"), KNOWN],
    "the last": [KNOWN, post(write_body(1.0), b"connection: close")],
}


@pytest.mark.parametrize("packets", REPEATED.values(), ids=REPEATED.keys())
def test_a_head_that_comes_again_is_answered_as_one_that_is_parsed(
    packets: Sequence[bytes],
) -> None:
    told: list[object] = []

    async def script(scene: Scene) -> None:
        await scene.teach(1.0, 2.0, 3.0)
        answers = b"".join(packets).count(b"HTTP/1.1\r\n")
        for cut in (False, True):
            protocol, wire = connect(scene)
            for packet in packets:
                for piece in [bytes([byte]) for byte in packet] if cut else [packet]:
                    protocol.data_received(piece)
            found = await read(wire, answers)
            told.append((found, protocol._steps, wire.closing))

    play(script)
    assert told[0] == told[1]


def test_a_head_that_comes_again_is_not_parsed_again() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0, 2.0)
        protocol, wire = connect(scene, KNOWN)
        parsed = protocol._parsed_count
        protocol.data_received(OTHER)
        assert len(split(wire.written)) == 2
        assert protocol._parsed_count == parsed
        assert protocol.observe() == (ConnectionState.IDLE, 4)

    play(script)


def test_a_head_that_comes_again_sees_the_end_of_its_route_and_of_the_server() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0)
        protocol, wire = connect(scene, KNOWN)
        served = scene.catalog.routes()
        scene.catalog.replace([])
        protocol.data_received(KNOWN)
        scene.catalog.replace(served)
        protocol.data_received(KNOWN)
        scene.engine.draining = True
        protocol.data_received(KNOWN)
        answers = await read(wire, None)
        assert [status for status, _ in answers] == [200, 404, 200, 200]
        closing = [b"\r\nconnection: close\r\n" in answer for _, answer in answers]
        assert closing == [False, False, False, True]

    play(script)


def test_a_head_that_comes_again_waits_for_a_client_that_does_not_read() -> None:
    async def script(scene: Scene) -> None:
        await scene.teach(1.0, 2.0)
        protocol, wire = connect(scene, KNOWN)
        protocol.pause_writing()
        protocol.data_received(OTHER)
        protocol.data_received(KNOWN)
        assert len(split(wire.written)) == 1
        protocol.resume_writing()
        assert len(await read(wire, 3)) == 3

    play(script)


def test_replies_carry_the_date() -> None:
    async def script(scene: Scene) -> None:
        _, wire = connect(scene, GET)
        await until(lambda: bool(wire.written))
        assert len(DATE.findall(wire.written)) == 1

    play(script)


def test_a_reply_that_is_cancelled_by_the_server_ends_its_connection() -> None:
    async def script(scene: Scene) -> None:
        forever = Streaming(b"a")
        protocol, wire = scene.connect(forever.answer)
        protocol.data_received(GET)
        (task,) = scene.state.tasks
        await until(lambda: bool(wire.written))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert forever.ended
        assert wire.closing

    play(script)
