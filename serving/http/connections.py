"""All HTTP connections of a process: how many may be open, and how long each waits for its client.

One sweep visits them all twice a second, so that no request needs its own timer. The connection
itself decides how it ends. `serving.http.uploads` has the limits of bodies that are being read.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

from serving.settings import ServerSettings

SWEEP_INTERVAL_S = 0.5
_HALF_CLOSED_S = 60.0  # work on an answer for a client that sends no more
_DRAIN_S = 1.0  # for writing, and for a client that sends no more, while the server drains
_REFUSED_S = 2.0  # in which a client may still send after its last answer
_LOG_INTERVAL_S = 60.0
_MAX_LOOKS = 4096  # in one turn of the sweep: with more connections, each is visited less often
_log = logging.getLogger("sparing.http")


class ConnectionState(Enum):
    """What a connection waits for."""

    AWAITING_REQUEST = "a first request"
    AWAITING_HEAD = "the rest of a head"
    AWAITING_BODY = "the rest of a small body"
    DISCARDING_BODY = "the rest of an unwanted body"
    ANSWERING = "the server"
    HALF_CLOSED = "the server, for a client that sends no more"
    WRITING = "the client to read"
    IDLE = "another request"
    CLOSING = "the client to read the last answer"
    REFUSED = "a refused client to disconnect"


_WRITE_STATES = frozenset({ConnectionState.WRITING, ConnectionState.CLOSING})
# states without a request under way
_SHEDDABLE = frozenset(
    {ConnectionState.AWAITING_REQUEST, ConnectionState.AWAITING_HEAD, ConnectionState.IDLE}
)


class Sweep:
    """A timer that visits everything that waits for clients, so that no request needs its own.

    It runs from `wake` until a visit finds nothing left to wait for. Its clock advances by two
    intervals a turn at most: a client is not at fault for a loop that stalled.
    """

    def __init__(self, look: Callable[[], bool], interval_s: float = SWEEP_INTERVAL_S) -> None:
        self._look = look
        self._interval_s = interval_s
        self._on = False
        self.now_s = 0.0

    def wake(self) -> None:
        """Call it for everything new that must be visited."""
        if not self._on:
            self._on = True
            self._call_later(asyncio.get_running_loop())

    def advance(self, seconds: float) -> bool:
        """Advance the clock and visit everything; return True while there is something left."""
        self.now_s += seconds
        return self._look()

    def _call_later(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(self._interval_s, self._turn, loop, loop.time())

    def _turn(self, loop: asyncio.AbstractEventLoop, last_s: float) -> None:
        self._on = self.advance(min(loop.time() - last_s, 2 * self._interval_s))
        if self._on:
            self._call_later(loop)


class ConnectionLimits(NamedTuple):
    """As `ServerSettings` has them."""

    head_s: float = 30.0
    body_s: float = 20.0
    idle_s: float = 75.0
    write_s: float = 30.0
    min_bytes_per_s: float = 4096.0
    max_connections: int = 32768
    max_unread_bytes: int = 64 * 2**20

    @classmethod
    def of(cls, settings: ServerSettings) -> "ConnectionLimits":
        return cls(
            settings.head_timeout_s,
            settings.body_timeout_s,
            settings.keep_alive_s,
            settings.write_timeout_s,
            settings.min_body_bytes_per_s,
            settings.max_connections,
            settings.max_unread_bytes,
        )


class WatchedConnection(Protocol):
    """The part of a connection that the sweep uses."""

    def observe(self) -> tuple[ConnectionState, int]:
        """Return what it waits for, and how many requests and answers it has completed."""

    def pending_bytes(self) -> int:
        """Return the bytes of answers that the client has not read."""

    def is_lost(self) -> bool:
        """Return whether the network reports a client that sends no more as gone."""

    def time_out(self, state: ConnectionState, after_s: float) -> None:
        """End it: it has waited as long as it may."""

    def shed(self) -> None:
        """Close it in favour of others."""

    def forget(self) -> None:
        """Forget what it knows of its client's requests: tokens have changed."""


class ConnectionEntry:
    """A connection's entry among all connections."""

    __slots__ = (
        "caller",
        "connection",
        "pending_bytes",
        "since_s",
        "state",
        "steps",
        "unread_bytes",
    )

    def __init__(self, connection: WatchedConnection, caller: str, now_s: float) -> None:
        self.connection = connection
        self.caller = caller
        self.state = ConnectionState.AWAITING_REQUEST
        self.steps = 0
        self.since_s = now_s  # when this state was seen first
        self.pending_bytes = 0
        self.unread_bytes = 0


class Connections:
    """The connections of one process."""

    def __init__(
        self,
        limits: ConnectionLimits,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._limits = limits
        self._draining = draining
        self._entries: set[ConnectionEntry] = set()
        self._round: list[ConnectionEntry] = []  # connections that this round has not visited
        self._unread_bytes = 0
        self._full_at_s = -1.0  # when no connection to end was found
        self._events: Counter[str] = Counter()
        self._logged_s = -_LOG_INTERVAL_S
        self._limit_s = {
            ConnectionState.AWAITING_REQUEST: limits.head_s,
            ConnectionState.AWAITING_HEAD: limits.head_s,
            ConnectionState.AWAITING_BODY: SWEEP_INTERVAL_S,
            ConnectionState.DISCARDING_BODY: limits.body_s,
            ConnectionState.HALF_CLOSED: _HALF_CLOSED_S,
            ConnectionState.WRITING: limits.write_s,
            ConnectionState.IDLE: limits.idle_s,
            ConnectionState.CLOSING: limits.write_s,
            ConnectionState.REFUSED: _REFUSED_S,
        }
        self.sweep = Sweep(self._look)

    def __len__(self) -> int:
        return len(self._entries)

    def limit_connections(self, max_connections: int) -> None:
        """Lower the limit to what the process can have."""
        self._limits = self._limits._replace(
            max_connections=min(max_connections, self._limits.max_connections)
        )

    def add(self, connection: WatchedConnection, caller: str) -> ConnectionEntry | None:
        """Return a new connection's entry; None if the limit is reached and every connection has a
        request under way.
        """
        if len(self._entries) >= self._limits.max_connections and not self._shed():
            self.count_event("refused, too many connections")
            return None
        entry = ConnectionEntry(connection, caller, self.sweep.now_s)
        self._entries.add(entry)
        self.sweep.wake()
        return entry

    def forget_requests(self) -> None:
        """Let every connection check the token of its next request, however it begins."""
        for entry in self._entries:
            entry.connection.forget()

    def remove(self, entry: ConnectionEntry) -> None:
        self.count_unread(entry, 0)
        self._entries.discard(entry)

    def count_unread(self, entry: ConnectionEntry, unread_bytes: int) -> None:
        """Note how many bytes of incomplete requests a connection holds."""
        self._unread_bytes += unread_bytes - entry.unread_bytes
        entry.unread_bytes = unread_bytes
        if self._unread_bytes > self._limits.max_unread_bytes:
            self._free_unread()

    def count_event(self, event: str) -> None:
        """Count a client's event; the log has one line a minute for all of them."""
        self._events[event] += 1
        self.sweep.wake()

    def _shed(self) -> bool:
        """End some connections that wait for a request: first those of the callers with most
        connections, the oldest first.
        """
        now_s = self.sweep.now_s
        if self._full_at_s == now_s:
            return False
        spare = [one for one in self._entries if one.connection.observe()[0] in _SHEDDABLE]
        counts = Counter(one.caller for one in self._entries)
        spare.sort(key=lambda one: (-counts[one.caller], one.since_s))
        for entry in spare[: 1 + self._limits.max_connections // 64]:
            self.count_event("ended for new connections")
            self._entries.discard(entry)
            entry.connection.shed()
        if not spare:
            self._full_at_s = now_s
        return bool(spare)

    def _free_unread(self) -> None:
        """End the connections that hold most, by caller, until a quarter of the limit is free."""
        held: Counter[str] = Counter()
        for one in self._entries:
            held[one.caller] += one.unread_bytes
        keeping = [one for one in self._entries if one.unread_bytes]
        keeping.sort(key=lambda one: (-held[one.caller], one.since_s))
        for entry in keeping:
            if self._unread_bytes <= 0.75 * self._limits.max_unread_bytes:
                break
            self.count_event("ended for memory")
            self._unread_bytes -= entry.unread_bytes
            entry.unread_bytes = 0
            entry.connection.shed()

    def _look(self) -> bool:
        draining = self._draining()
        self._round = self._round or list(self._entries)
        for entry in self._round[-_MAX_LOOKS:]:
            if entry in self._entries:
                self._look_at(entry, draining)
        del self._round[-_MAX_LOOKS:]
        self._log_events()
        return bool(self._entries or self._events)

    def _look_at(self, entry: ConnectionEntry, draining: bool) -> None:
        now_s = self.sweep.now_s
        state, steps = entry.connection.observe()
        if state is not entry.state or steps != entry.steps:
            entry.state, entry.steps, entry.since_s = state, steps, now_s
            entry.pending_bytes = entry.connection.pending_bytes() if state in _WRITE_STATES else 0
            return
        limit_s = self._limit_s.get(state)
        if limit_s is None:
            return
        if draining and state in _WRITE_STATES:
            limit_s = min(limit_s, _DRAIN_S)
        if state is ConnectionState.HALF_CLOSED and entry.connection.is_lost():
            limit_s = 0.0
        waited_s = now_s - entry.since_s
        if waited_s < limit_s:
            return
        if state in _WRITE_STATES and self._has_read(entry, waited_s):
            entry.since_s = now_s
            return
        if state is not ConnectionState.AWAITING_BODY:
            self.count_event(f"timed out waiting for {state.value}")
        entry.connection.time_out(state, limit_s)

    def _has_read(self, entry: ConnectionEntry, waited_s: float) -> bool:
        """Return whether the client has read fast enough since the last visit."""
        before, entry.pending_bytes = entry.pending_bytes, entry.connection.pending_bytes()
        return before - entry.pending_bytes >= self._limits.min_bytes_per_s * waited_s

    def _log_events(self) -> None:
        if self._events and self.sweep.now_s - self._logged_s >= _LOG_INTERVAL_S:
            self._logged_s = self.sweep.now_s
            counts = ", ".join(f"{count} {event}" for event, count in self._events.most_common())
            _log.info("HTTP connections since the last such line: %s", counts)
            self._events.clear()
