"""One client that holds conversations with a server: on fresh connections, and on used ones."""

import asyncio
import struct
from collections import Counter
from random import Random
from typing import NamedTuple

from reliability.wire import http2
from reliability.wire.conversation import Conversation, Ends, HttpReply
from reliability.wire.judging import judge_http, judge_rpc
from reliability.wire.rpc_wire import RpcWire
from reliability.wire.wire import Malformed, Wire, connect, take_reply

QUIET_S = 0.05  # so long without an answer, and we send no more
FRESH = 0.04  # share of conversations behind which a connection is given up
_PING = http2.frame(http2.PING, 0, 0, struct.pack(">Q", 12))


class Ports(NamedTuple):
    http: int
    grpc: int


class Talker:
    """Conversations one after the other. `ended` counts their ends: statuses, or what else."""

    def __init__(self, ports: Ports, limit_s: float, ended: Counter[str], seed: int = 0) -> None:
        self._ports = ports
        self._limit_s = limit_s
        self._rng = Random(seed)
        self._http: Wire | None = None
        self._rpc: RpcWire | None = None
        self._ended = ended

    async def hold(self, conversation: Conversation) -> str:
        """An empty string, or what is wrong. After a fault the connection is closed."""
        try:
            async with asyncio.timeout(2 * self._limit_s):
                if conversation.call is not None:
                    fault = await self._call(conversation)
                elif conversation.ends is Ends.ANSWERED:
                    fault = await self._ask(conversation)
                else:
                    fault = await self._say(conversation)
        except OSError as error:
            fault = f"lost: no connection: {error}"
        except TimeoutError:
            fault = "hang: the conversation has no end"
        except Malformed as error:
            fault = f"malformed: {error}"
        if fault or self._rng.random() < FRESH:
            self.close()
        return fault

    def close(self) -> None:
        self._drop_http()
        if self._rpc is not None:
            self._rpc.close()
        self._rpc = None

    def _drop_http(self) -> None:
        if self._http is not None:
            self._http.abort()
        self._http = None

    def _count(self, what: str) -> None:
        self._ended[what] += 1

    async def _ask(self, conversation: Conversation) -> str:
        """On the open connection; reads as many replies as are due."""
        if conversation.half_closes:
            self._drop_http()
        if self._http is None or self._http.over:
            self._http = await connect(self._ports.http)
        wire = self._http
        await _write(wire, conversation)
        if conversation.half_closes:
            wire.half_close()
        replies = await self._read_replies(wire, conversation)
        if replies is None:
            return "hang: an answer is missing"
        fault = judge_http(conversation, replies, wire.over)
        if not fault and wire.buffer:
            fault = f"more answers than requests: {bytes(wire.buffer[:200])!r}"
        if conversation.half_closes or (replies and replies[-1].closes):
            self._drop_http()
        return fault

    async def _read_replies(self, wire: Wire, conversation: Conversation) -> list[HttpReply] | None:
        """Wait for all due replies, or until the server closes; None on a timeout."""
        replies: list[HttpReply] = []
        left = conversation.answers
        deadline = asyncio.get_running_loop().time() + self._limit_s
        while left:
            reply = take_reply(wire.buffer, conversation.bodiless)
            if reply is not None:
                replies.append(reply)
                left -= reply.status >= 200
                self._count(f"http {reply.status}")
            elif wire.over:
                break
            elif not await wire.more(deadline - asyncio.get_running_loop().time()):
                return None
        return replies

    async def _say(self, conversation: Conversation) -> str:
        """On a new connection. The number of replies is unknown; the server must end it."""
        port = self._ports.grpc if conversation.grpc else self._ports.http
        wire = await connect(port)
        try:
            await _write(wire, conversation)
            if conversation.ends is Ends.ABANDONED:
                self._count("abandoned")
                await asyncio.sleep(conversation.pause_s)
                return ""
            if conversation.grpc:
                wire.write(_PING)
            if not await self._hear_out(wire):
                return "hang: the server does not close"
            if conversation.grpc:
                self._count("http2 closed")
                return ""
            replies: list[HttpReply] = []
            while (reply := take_reply(wire.buffer, conversation.bodiless)) is not None:
                replies.append(reply)
            for reply in replies:
                self._count(f"http {reply.status}")
            if not replies:
                self._count("http closed")
            return judge_http(conversation, replies, lost=True)
        finally:
            wire.abort()

    async def _hear_out(self, wire: Wire) -> bool:
        """Whether the server closes after we have stopped sending."""
        loop = asyncio.get_running_loop()
        while not wire.over and await wire.more(QUIET_S):
            pass
        wire.half_close()
        deadline = loop.time() + self._limit_s
        while not wire.over:
            if not await wire.more(max(0.0, deadline - loop.time())):
                return False
        return True

    async def _call(self, conversation: Conversation) -> str:
        assert conversation.call is not None
        if self._rpc is None or not self._rpc.usable:
            if self._rpc is not None:
                self._rpc.close()
            self._rpc = RpcWire(await connect(self._ports.grpc))
        reply = await self._rpc.call(conversation.call, self._limit_s)
        self._count(f"grpc {'none' if reply.grpc_status is None else reply.grpc_status}")
        return judge_rpc(conversation, reply)


async def _write(wire: Wire, conversation: Conversation) -> None:
    for place, packet in enumerate(conversation.packets):
        if place:
            await asyncio.sleep(conversation.pause_s)
        wire.write(packet)
