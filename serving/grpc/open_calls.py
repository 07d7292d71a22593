"""Counts open gRPC calls by kind and caller, and chooses those that end for new ones.

A caller's calls are counted over all its connections, so that more connections give it no larger
share; each connection has a part of its caller's share. If there is no place, a call whose client
has sent nothing for a while ends in favour of the new one. `serving.grpc.endpoint` ends the calls
themselves.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple

from core.errors import Overloaded

# A caller's open calls may be so many times the free ones: some stay free for others.
_FREE_SHARE_DIVISOR = 8
GRACE_S = 1.0  # a call that waited this long for its client may be ended for another


class Kind(NamedTuple):
    """How many calls of one kind may be open at once."""

    name: str
    total: int
    per_caller: int
    per_connection: int


INFER = Kind("calls", 4096, 2048, 1024)
STREAMS = Kind("ModelStreamInfer calls", 1024, 512, 128)
CHECKS = Kind("Health/Check calls", 512, 128, 32)
WATCHES = Kind("Health/Watch calls", 256, 64, 8)
REFLECTIONS = Kind("reflection calls", 64, 16, 8)


class EndReason(Enum):
    """Why the server ends a call."""

    PREEMPTED = "ended for a call of another client, since this one had sent nothing for a while"
    UNFINISHED = "the unfinished messages of this client hold too many bytes"
    LATE_MESSAGE = "the request's message did not arrive in time"
    IDLE = "the stream was idle for too long"
    UNREAD = "the client did not read its answers in time"
    DRAINING = "the server is draining, use another one"


class OpenCall:
    """One open call. `since` is when it began to wait for its client; None while the server
    works.
    """

    __slots__ = ("caller", "connection", "context", "shares", "since", "task", "why")

    def __init__(
        self,
        shares: "_KindShares",
        caller: str,
        connection: str,
        context: Any,
        task: Any,
        since: float | None,
    ) -> None:
        self.shares: _KindShares | None = shares  # None: it is over
        self.caller = caller
        self.connection = connection
        self.context = context  # grpc has no types
        self.task = task
        self.since = since
        self.why = EndReason.LATE_MESSAGE  # if it waits for too long

    @property
    def open(self) -> bool:
        return self.shares is not None

    def close(self, _task: object = None) -> None:
        """End the bookkeeping of a call; calling it twice is safe."""
        shares = self.shares
        if shares is not None:
            self.context = self.task = self.shares = None  # they refer back to the call
            shares.remove(self)


End = Callable[[OpenCall, EndReason], None]  # may only schedule something


class _KindShares:
    """The open calls of one kind."""

    __slots__ = ("callers", "connections", "emptied", "kind", "total")

    def __init__(self, kind: Kind, emptied: Callable[[], None]) -> None:
        self.kind = kind
        self.emptied = emptied
        self.total = 0
        self.callers: dict[str, dict[OpenCall, None]] = {}  # in the order in which they began
        self.connections: dict[str, int] = {}

    def add(self, call: OpenCall) -> None:
        self.total += 1
        calls = self.callers.get(call.caller)
        if calls is None:
            calls = self.callers[call.caller] = {}
        calls[call] = None
        self.connections[call.connection] = self.connections.get(call.connection, 0) + 1

    def remove(self, call: OpenCall) -> None:
        self.total -= 1
        calls = self.callers[call.caller]
        del calls[call]
        if not calls:
            del self.callers[call.caller]
        left = self.connections[call.connection] - 1
        if left:
            self.connections[call.connection] = left
        else:
            del self.connections[call.connection]
        if not self.total:
            self.emptied()


class OpenCalls:
    """All open calls of one endpoint. `end` is called to end one; it may only schedule that."""

    def __init__(
        self,
        end: End,
        *,
        message_timeout_s: float,
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._end = end
        self._message_timeout_s = message_timeout_s
        self._idle_s = idle_s
        self._clock = clock
        self._shares: dict[str, _KindShares] = {}
        self._emptied: asyncio.Event | None = None

    def begin(
        self, kind: Kind, caller: str, connection: str, context: Any = None, task: Any = None
    ) -> OpenCall:
        """Register a call that waits for its first message. Raises Overloaded."""
        shares = self._shares.get(kind.name)
        if shares is None:
            shares = self._shares[kind.name] = _KindShares(kind, self._note_empty)
        self._find_room(shares, caller, connection)
        call = OpenCall(shares, caller, connection, context, task, self._clock())
        shares.add(call)
        return call

    def _find_room(self, shares: _KindShares, caller: str, connection: str) -> None:
        """Make place for a call, if there is none. Raises Overloaded."""
        kind = shares.kind
        if shares.connections.get(connection, 0) >= kind.per_connection:
            raise _full(kind, kind.per_connection, "of one connection")
        calls = shares.callers.get(caller)
        if calls:
            most = min(kind.per_caller, _FREE_SHARE_DIVISOR * (kind.total - shares.total))
            if len(calls) >= most and not self._make_room(calls):
                raise _full(kind, len(calls), "of one caller")
        if shares.total >= kind.total and not self._make_room(
            max(shares.callers.values(), key=len)
        ):
            raise _full(kind, kind.total, "of all callers")

    def _note_empty(self) -> None:
        if self._emptied is not None and not len(self):
            self._emptied.set()

    async def empty(self, timeout_s: float) -> None:
        """Wait until no call is open, or the time is over."""
        self._emptied = asyncio.Event()
        if len(self):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), max(timeout_s, 0.0))

    def wait(self, call: OpenCall, why: EndReason) -> None:
        """Note that the call waits for its client from now on."""
        call.since = self._clock()
        call.why = why

    def sweep(self) -> None:
        """End the calls that have waited for their client for too long."""
        now = self._clock()
        for call in self.waiting():
            assert call.since is not None
            limit_s = self._idle_s if call.why is EndReason.IDLE else self._message_timeout_s
            if now - call.since >= limit_s:
                self.end(call, call.why)

    def extend_deadlines(self, seconds: float) -> None:
        """Ignore a time in which the server read nothing that clients sent."""
        now = self._clock()
        for call in self.waiting():
            assert call.since is not None
            call.since = min(call.since + seconds, now)

    def waiting(self, at_least_s: float = 0.0) -> list[OpenCall]:
        """Return the calls that have waited for their clients for so long."""
        latest = self._clock() - at_least_s
        return [one for one in self if one.since is not None and one.since <= latest]

    def stalled(self) -> list[OpenCall]:
        """Return the calls that wait for their clients, without those that just send a response."""
        late = {*self.waiting(GRACE_S)}
        return [one for one in self.waiting() if one.why is not EndReason.UNREAD or one in late]

    def end(self, call: OpenCall, why: EndReason) -> None:
        """End a call for this reason, unless it is closed."""
        if call.open:
            self._end(call, why)
            call.close()

    def end_all(self, calls: Iterable[OpenCall], why: EndReason) -> None:
        for call in list(calls):
            self.end(call, why)

    def __iter__(self) -> Iterator[OpenCall]:
        for shares in self._shares.values():
            for calls in shares.callers.values():
                yield from calls

    def __len__(self) -> int:
        return sum(shares.total for shares in self._shares.values())

    def _make_room(self, calls: Collection[OpenCall]) -> bool:
        """End one call that waits for its client, on the connection with most of them."""
        latest = self._clock() - GRACE_S
        stalled = [one for one in calls if one.since is not None and one.since <= latest]
        if not stalled:
            return False
        shares = stalled[0].shares
        assert shares is not None
        connections = shares.connections
        self.end(max(stalled, key=lambda one: connections[one.connection]), EndReason.PREEMPTED)
        return True


def _full(kind: Kind, limit: int, of_whom: str) -> Overloaded:
    return Overloaded(f"{kind.name}: {limit} {of_whom} are open, which is the limit; try again")
