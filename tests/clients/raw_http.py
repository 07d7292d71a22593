"""A light HTTP/1.1 client over asyncio streams: load must not cost more than the server does."""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass
from types import TracebackType


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
            if fresh:  # the kernel let it in, the server had closed its door: never accepted
                raise Refused from error
            raise

    async def _exchange(self, path: str, body: bytes) -> RawReply:
        assert self._streams is not None
        reader, writer = self._streams
        head = f"POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
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
