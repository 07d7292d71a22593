"""A gRPC client that does what no library does: half messages, none at all, pings in a row."""

import asyncio
import struct
from dataclasses import dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
FIRST_WINDOW = 4  # among the settings: of every stream
_MAX_FRAME = 16384
PATIENCE_S = 20.0


@dataclass
class RawHttp2:
    """One connection. Frames that come are read by `until`; windows are heeded by `send`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    streams: int = 0
    room: dict[int, int] = field(default_factory=dict)  # by stream; 0: the connection
    first_room: int = 65535
    ended: set[int] = field(default_factory=set)  # streams that the server has ended

    @classmethod
    async def connect(cls, port: int) -> "RawHttp2":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        made = cls(reader, writer)
        made.room[0] = 65535
        writer.write(PREFACE)
        made.write(SETTINGS, 0, 0)
        return made

    def write(self, kind: int, flags: int, stream: int, content: bytes = b"") -> None:
        head = struct.pack(">I", len(content))[1:] + bytes([kind, flags])
        self.writer.write(head + struct.pack(">I", stream) + content)

    def call(self, path: str) -> int:
        """Open a call without sending anything of its message."""
        self.streams += 1
        stream = 2 * self.streams - 1
        headers = {
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": "test",
            "content-type": "application/grpc", "te": "trailers",
        }  # fmt: skip
        block = b"".join(
            b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in headers.items()
        )
        self.write(HEADERS, END_HEADERS, stream, block)
        self.room[stream] = self.first_room
        return stream

    async def send(self, stream: int, content: bytes, *, end: bool = False) -> None:
        """As fast as the server takes it, unless it ends the stream."""
        while content and stream not in self.ended:
            size = min(len(content), self.room[0], self.room[stream], _MAX_FRAME)
            if size <= 0:
                await self.read()
                continue
            self.write(
                DATA, END_STREAM if end and size == len(content) else 0, stream, content[:size]
            )
            self.room[0] -= size
            self.room[stream] -= size
            content = content[size:]
        await self.writer.drain()

    async def read(self) -> int:
        """One frame; its kind, or -1 when the server has hung up."""
        try:
            head = await asyncio.wait_for(self.reader.readexactly(9), PATIENCE_S)
        except (asyncio.IncompleteReadError, ConnectionError):
            return -1
        size = int.from_bytes(head[:3], "big")
        kind, flags = head[3], head[4]
        stream = int.from_bytes(head[5:9], "big")
        content = await self.reader.readexactly(size)
        if kind == SETTINGS and not flags & ACK:
            self._take_settings(content)
            self.write(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self.write(PING, ACK, 0, content)
        elif kind == WINDOW:
            self.room[stream] = self.room.get(stream, 0) + int.from_bytes(content, "big")
        elif kind == RESET or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self.ended.add(stream)
        return kind

    async def until_ended(self, *streams: int) -> None:
        while not self.ended.issuperset(streams):
            assert await self.read() >= 0, "the server hung up"

    def close(self) -> None:
        self.writer.close()

    def _take_settings(self, content: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", content):
            if name == FIRST_WINDOW:
                for stream in self.room:
                    self.room[stream] += (value - self.first_room) if stream else 0
                self.first_room = value


def half_message(size: int) -> bytes:
    """A message of that size without its last byte."""
    return b"\0" + struct.pack(">I", size) + bytes(size - 1)
