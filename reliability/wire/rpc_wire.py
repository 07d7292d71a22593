"""A gRPC client on hand-written HTTP/2: one call after another, each with its full reply."""

import asyncio
import struct
from dataclasses import dataclass, field

from reliability.wire import http2
from reliability.wire.conversation import Call
from reliability.wire.http2 import Frame, frame
from reliability.wire.wire import Wire

MAX_CALLS = 500  # of one connection


@dataclass(slots=True)
class RpcReply:
    """What came back on a call's stream."""

    http_status: bytes = b""
    grpc_status: int | None = None
    grpc_message: bytes = b""
    data: bytearray = field(default_factory=bytearray)
    reset: int | None = None  # the code of a RST_STREAM, or of a GOAWAY before the stream
    ended: bool = False
    lost: bool = False  # the connection closed
    hung: bool = False

    def messages(self) -> list[bytes]:
        """Raises ValueError when the data is no sequence of plain messages."""
        found: list[bytes] = []
        place = 0
        while place < len(self.data):
            if place + 5 > len(self.data):
                raise ValueError("a message's head is cut")
            flag, size = struct.unpack_from(">BI", self.data, place)
            place += 5
            if flag or place + size > len(self.data):
                raise ValueError(f"a message has flag {flag}, {size} bytes, and is cut")
            found.append(bytes(self.data[place : place + size]))
            place += size
        return found


class RpcWire:
    """One HTTP/2 connection."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stream = -1
        self._reply = RpcReply()
        self._block = b""
        self._room = http2.START_WINDOW
        self._stream_room = 0
        self._start_room = http2.START_WINDOW
        self._told_to_go = False
        wire.write(http2.hello())

    @property
    def usable(self) -> bool:
        wire = self._wire
        return not (wire.over or self._told_to_go or self._stream > 2 * MAX_CALLS)

    def close(self) -> None:
        self._wire.close()

    async def call(self, call: Call, limit_s: float) -> RpcReply:
        """Send it all and wait until its stream or the connection is over."""
        deadline = asyncio.get_running_loop().time() + limit_s
        self._take_all()  # such as room in the windows that came after the last call's answer
        self._stream += 2
        self._reply = reply = RpcReply()
        self._block = b""
        self._stream_room = self._start_room
        await self._send(call, deadline)
        if call.cancels:
            code = struct.pack(">I", http2.CANCEL)
            self._wire.write(frame(http2.RST_STREAM, 0, self._stream, code))
            reply.ended = True
        while not (reply.ended or reply.lost or reply.hung):
            await self._read(deadline)
        return reply

    async def _send(self, call: Call, deadline: float) -> None:
        ends = call.half_closes and not call.pieces
        block = http2.pack_headers(call.headers)
        parts = [block[at : at + http2.MAX_FRAME] for at in range(0, len(block), http2.MAX_FRAME)]
        sent = []
        for place, part in enumerate(parts):
            flags = http2.END_HEADERS if place == len(parts) - 1 else 0
            kind = http2.CONTINUATION if place else http2.HEADERS
            flags |= http2.END_STREAM if ends and not place else 0
            sent.append(frame(kind, flags, self._stream, part))
        for place, piece in enumerate(call.pieces):
            last = call.half_closes and place == len(call.pieces) - 1
            await self._send_data(piece, last, sent, deadline)
        self._wire.write(b"".join(sent))

    async def _send_data(
        self, piece: bytes, last: bool, sent: list[bytes], deadline: float
    ) -> None:
        """Send a piece in frames; wait while the flow-control windows are full."""
        place = 0
        reply = self._reply
        while True:
            size = min(len(piece) - place, http2.MAX_FRAME, self._room, self._stream_room)
            if size <= 0 and place < len(piece):
                self._wire.write(b"".join(sent))
                sent.clear()
                if reply.ended or reply.lost or reply.hung:
                    return
                await self._read(deadline)
                continue
            part = piece[place : place + size]
            place += size
            self._room -= size
            self._stream_room -= size
            ends = last and place == len(piece)
            sent.append(frame(http2.DATA, http2.END_STREAM if ends else 0, self._stream, part))
            if place == len(piece):
                return

    async def _read(self, deadline: float) -> None:
        wire = self._wire
        left_s = deadline - asyncio.get_running_loop().time()
        if left_s <= 0 or not await wire.more(left_s):
            self._reply.hung = True
            return
        self._take_all()
        if wire.over and not self._reply.ended:
            self._reply.lost = True

    def _take_all(self) -> None:
        for one in http2.split_frames(self._wire.buffer):
            self._take(one)

    def _take(self, one: Frame) -> None:
        if one.kind == http2.SETTINGS and not one.flags & http2.ACK:
            self._take_settings(one.payload)
        elif one.kind == http2.PING and not one.flags & http2.ACK:
            self._wire.write(frame(http2.PING, http2.ACK, 0, one.payload))
        elif one.kind == http2.WINDOW_UPDATE:
            (by,) = struct.unpack(">I", one.payload)
            if one.stream == 0:
                self._room += by
            elif one.stream == self._stream:
                self._stream_room += by
        elif one.kind == http2.GOAWAY:
            self._take_goaway(one.payload)
        elif one.stream == self._stream:
            self._take_answer(one)

    def _take_settings(self, payload: bytes) -> None:
        for place in range(0, len(payload) - 5, 6):
            key, value = struct.unpack_from(">HI", payload, place)
            if key == http2.INITIAL_WINDOW_SIZE:
                self._stream_room += value - self._start_room
                self._start_room = value
        self._wire.write(frame(http2.SETTINGS, http2.ACK, 0))

    def _take_goaway(self, payload: bytes) -> None:
        self._told_to_go = True
        last, code = struct.unpack_from(">II", payload)
        if last < self._stream:
            self._reply.reset = code
            self._reply.ended = True

    def _take_answer(self, one: Frame) -> None:
        reply = self._reply
        if one.kind == http2.RST_STREAM:
            (reply.reset,) = struct.unpack(">I", one.payload)
            reply.ended = True
            return
        if one.kind == http2.DATA:
            reply.data += one.payload
        elif one.kind in {http2.HEADERS, http2.CONTINUATION}:
            self._block += one.payload
            if one.flags & http2.END_HEADERS:
                self._take_headers(http2.read_headers(self._block))
                self._block = b""
        if one.kind != http2.CONTINUATION and one.flags & http2.END_STREAM:
            reply.ended = True

    def _take_headers(self, headers: dict[bytes, bytes]) -> None:
        reply = self._reply
        reply.http_status = headers.get(b":status", reply.http_status)
        status = headers.get(b"grpc-status")
        if status is not None:
            reply.grpc_status = int(status)
        reply.grpc_message = headers.get(b"grpc-message", reply.grpc_message)
