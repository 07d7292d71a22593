"""A light HTTP/1.1 client over asyncio streams: load must not cost more than the server does."""

import asyncio
import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class RawReply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


class Refused(Exception):
    """The connection was refused, or closed before any byte of an answer to a request was due."""


class RawClient:
    """One keep-alive connection; a `connection: close` from the server is honoured."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> "RawClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def reset(self) -> None:
        """Hang up in a way that cannot be taken for the end of what this side sends."""
        if self._streams is not None:
            connection = self._streams[1].get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._streams[1].transport.abort()
            self._streams = None

    async def post(self, path: str, body: bytes) -> RawReply:
        """Raises Refused when no connection can be opened, ConnectionError when an answer breaks
        off.
        """
        fresh = self._streams is None
        try:
            self._streams = self._streams or await asyncio.open_connection("127.0.0.1", self._port)
            return await self._exchange(path, body)
        except ConnectionRefusedError as error:
            raise Refused from error
        except ConnectionResetError as error:
            self.close()
            if fresh:  # the kernel let it in, the server had stopped listening: never accepted
                raise Refused from error
            raise

    async def _exchange(self, path: str, body: bytes) -> RawReply:
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(make_post(path, body))
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.split(":", 1) for line in lines[1:] if line)
            headers = {name.lower(): value.strip() for name, value in pairs}
            answer = await reader.readexactly(int(headers.get("content-length", "0")))
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the answer broke off") from error
        if headers.get("connection") == "close":
            self.close()
        return RawReply(int(lines[0].split(" ")[1]), headers, answer)


def make_post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def ask_in_a_row(port: int, requests: Sequence[bytes], at_once: int = 50) -> list[int]:
    """The statuses, in order. So many requests are sent before their answers are read, which must
    be small: far cheaper than one at a time.
    """
    statuses: list[int] = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        answers = connection.makefile("rb")
        for start in range(0, len(requests), at_once):
            part = requests[start : start + at_once]
            connection.sendall(b"".join(part))
            statuses += [_read_status(answers) for _ in part]
    return statuses


def _read_status(answers: BinaryIO) -> int:
    """Read one answer to its end."""
    status, length = int(answers.readline().split(b" ")[1]), 0
    while line := answers.readline().strip():
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    answers.read(length)
    return status
