"""A connection of a client that watches how it ends, and HTTP answers read strictly from it."""

import asyncio
import contextlib
import re
from typing import cast

from reliability.wire.conversation import HttpReply

_LINE = re.compile(rb"HTTP/1\.1 ([1-5]\d\d)(?: [^\r\n\0]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_MAX_ANSWER_BYTES = 64 * 2**20


class Malformed(Exception):
    """The server sent what is not HTTP."""


class Wire(asyncio.Protocol):
    """Bytes that came, and whether more can come."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.over = False
        self.uses = 0
        self._waiter: asyncio.Future[bool] | None = None
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's shares no base class

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._wake()

    def eof_received(self) -> bool:
        self.over = True
        self._wake()
        return False  # closes our side too

    def connection_lost(self, error: Exception | None) -> None:
        self.over = True
        self._wake()

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def half_close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # it is closed already
            self._transport.write_eof()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    async def more(self, timeout_s: float) -> bool:
        """Wait until something happens; false when nothing did in time."""
        if self.over:
            return True
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(timeout_s, _end, waiter, False)
        try:
            return bool(await waiter)
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None:
            _end(self._waiter, True)


def _end(waiter: "asyncio.Future[bool]", found: bool) -> None:
    if not waiter.done():
        waiter.set_result(found)


async def connect(port: int) -> Wire:
    _, wire = await asyncio.get_running_loop().create_connection(Wire, "127.0.0.1", port)
    return wire


def take_reply(buffer: bytearray, bodiless: bool = False) -> HttpReply | None:
    """The next whole answer, taken off the buffer. Raises Malformed."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > 65_536:
            raise Malformed("an answer's head has no end")
        return None
    status, headers = _read_head(bytes(buffer[:end]))
    size = 0
    if status >= 200 and status not in {204, 304}:
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > _MAX_ANSWER_BYTES:
            raise Malformed(f"an answer's content-length is {length!r}")
        size = 0 if bodiless else int(length)
    if len(buffer) < end + 4 + size:
        return None
    body = bytes(buffer[end + 4 : end + 4 + size])
    del buffer[: end + 4 + size]
    return HttpReply(status, headers, body)


def _read_head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = head.split(b"\r\n")
    found = _LINE.fullmatch(first)
    if found is None:
        raise Malformed(f"an answer begins {first[:80]!r}")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None or field[1].lower() in headers:
            raise Malformed(f"an answer has the header {line[:80]!r}")
        headers[field[1].lower()] = field[2]
    return int(found[1]), headers
