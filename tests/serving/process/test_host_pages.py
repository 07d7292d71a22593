"""A host's pages on our connections: its replies are framed anew, ours are not its business."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from harness.waiting import until
from serving.http.asgi import Scope, Send
from serving.http.body import Receive
from serving.process.host_pages import HostPages
from tests.serving.http.conversations import GET
from tests.serving.http.wire import DATE, Scene, Wire, play, post

PAGE = post(b"abc", b"x-asked: 1", url=b"/page%20one?a=b")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells what it was asked."""
    message = await receive()
    told = repr((scope["method"], scope["path"], scope["query_string"], message["body"])).encode()
    headers = [(b"content-length", b"%d" % len(told)), (b"x-host", b"yes")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": told})


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"a", b"bc"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("broken")


async def break_off(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    raise RuntimeError("broken")


def visit(app: Any, request: bytes, done: Callable[[Wire], bool]) -> bytes:
    """What a connection whose host is `app` writes, without its dates."""
    written: list[bytes] = []

    async def script(scene: Scene) -> None:
        protocol, wire = scene.connect(HostPages(app, scene.endpoint).answer)
        protocol.data_received(request)
        await until(lambda: done(wire))
        written.append(DATE.sub(b"", wire.written))

    play(script)
    return written[0]


def test_a_host_gets_its_requests_and_its_replies_are_framed_by_the_connection() -> None:
    told = b"('POST', '/page one', b'a=b', b'abc')"
    answer = visit(echo, PAGE, lambda wire: wire.written.endswith(told))
    head = b"HTTP/1.1 201 Created\r\nx-host: yes\r\ncontent-length: %d\r\n\r\n" % len(told)
    assert answer == head + told


def test_a_host_may_stream() -> None:
    answer = visit(stream, PAGE, lambda wire: wire.written.endswith(b"0\r\n\r\n"))
    assert answer.endswith(b"chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")


def test_our_paths_are_answered_by_us() -> None:
    answer = visit(fail, GET, lambda wire: bool(wire.written))
    assert b'"name":"sparing"' in answer


def test_a_host_that_fails_is_500_or_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, "sparing"):
        answer = visit(fail, PAGE, lambda wire: bool(wire.written))
        assert answer.startswith(b"HTTP/1.1 500 ")
        cut = visit(break_off, PAGE, lambda wire: wire.closing)
    assert cut.endswith(b"1\r\na\r\n")


def test_a_host_is_told_that_its_client_has_left() -> None:
    seen: list[str] = []

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        while not seen or seen[-1] != "http.disconnect":
            seen.append((await receive())["type"])

    async def script(scene: Scene) -> None:
        protocol, wire = scene.connect(HostPages(wait, scene.endpoint).answer)
        protocol.data_received(PAGE)
        await until(lambda: seen == ["http.request"])
        wire.close()
        await until(lambda: seen == ["http.request", "http.disconnect"])
        for _ in range(5):
            await asyncio.sleep(0)
        assert not wire.written

    play(script)
