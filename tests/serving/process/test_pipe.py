"""Messages pass the line whole and in order; its end is told as None, never as half a message."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serving.process.pipe import Streams, open_pipe, read_message, read_pipe, write_message


def between(use: Callable[[Streams, socket.socket], Coroutine[Any, Any, None]]) -> None:
    """Both ends of a line: one opened, one as it is."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            streams = await open_pipe(ours)
            try:
                await asyncio.wait_for(use(streams, theirs), 20.0)
            finally:
                streams[1].close()
                with contextlib.suppress(ConnectionError):
                    await streams[1].wait_closed()

    asyncio.run(main())


def test_messages_arrive_whole_and_in_order() -> None:
    messages = [{"kind": "sums", "number": n, "text": 'a\n"b" ü\n' * n} for n in range(3)]

    async def use(line: Streams, other: socket.socket) -> None:
        other.sendall(b"".join(map(write_message, messages)))
        assert [await read_message(line[0]) for _ in messages] == messages

    between(use)


def test_a_message_is_one_line_whatever_it_holds() -> None:
    message = {"kind": "refused", "why": "one\ntwo\r\x85\u2028three"}
    line = write_message(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert read_pipe(line) == message


def test_a_long_message_passes() -> None:
    message = {"kind": "counts", "text": "x" * 2**20}

    async def use(line: Streams, other: socket.socket) -> None:
        sending = asyncio.to_thread(other.sendall, write_message(message))
        _, received = await asyncio.gather(sending, read_message(line[0]))
        assert received == message

    between(use)


def test_the_end_of_the_other_side_is_none() -> None:
    async def use(line: Streams, other: socket.socket) -> None:
        other.sendall(write_message({"kind": "ready"}))
        other.close()
        assert await read_message(line[0]) == {"kind": "ready"}
        assert await read_message(line[0]) is None

    between(use)


def test_half_a_message_of_a_killed_process_is_none() -> None:
    async def use(line: Streams, other: socket.socket) -> None:
        other.sendall(b'{"kind": "counts"}')
        other.close()
        assert await read_message(line[0]) is None

    between(use)


def test_a_line_that_broke_with_unread_bytes_is_none() -> None:
    async def use(line: Streams, other: socket.socket) -> None:
        line[1].write(b"never read\n")
        await line[1].drain()
        other.close()
        assert await read_message(line[0]) is None

    between(use)


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(json.JSONDecodeError):
        read_pipe(b"(cos\nsystem\n")
