"""All HTTP connections of a process: how many there may be, and how long each waits for its client.

One sweep looks at all of them twice a second, so that no request needs a timer of its own. What a
limit means for a connection is the connection's. Bodies that a request reads have their limits in
`serving.http.uploads`.
"""

import logging
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

from serving.http.sweeps import SWEEP_INTERVAL_S, Sweep

_HALF_CLOSED_S = 60.0  # that an answer is worked on for a client which sends no more
_DRAIN_S = 1.0  # for writing and for a client that sends no more, while the server drains
_REFUSED_S = 2.0  # that a client may send on behind its last answer
_LOG_INTERVAL_S = 60.0
_LOOKS = 4096  # in one turn of the sweep: with more connections each is looked at less often
_log = logging.getLogger("sparing.http")


class State(Enum):
    """What a connection waits for."""

    NEW = "a first request"
    HEAD = "the rest of a head"
    HELD = "the rest of a small body"
    REST = "the rest of a body that is not wanted"
    ANSWER = "the server"
    HALF_CLOSED = "the server, for a client that sends no more"
    WRITING = "the client to read"
    IDLE = "another request"
    CLOSING = "the client to read the last answer"
    REFUSED = "a client that was refused to end"


_WRITES = frozenset({State.WRITING, State.CLOSING})
_SPARE = frozenset({State.NEW, State.HEAD, State.IDLE})  # without a request under way


class Limits(NamedTuple):
    """As `ServerSettings` has them."""

    head_s: float = 30.0
    body_s: float = 20.0
    idle_s: float = 75.0
    write_s: float = 30.0
    min_bytes_per_s: float = 4096.0
    max_connections: int = 32768
    max_unread_bytes: int = 64 * 2**20


class Watched(Protocol):
    """What is asked of a connection."""

    def observe(self) -> tuple[State, int]:
        """What it waits for, and how many requests it has read and answered."""

    def pending_bytes(self) -> int:
        """Of answers, that the client has not read."""

    def is_lost(self) -> bool:
        """Whether the network says so of a client that sends no more."""

    def time_out(self, state: State, after_s: float) -> None:
        """It has waited as long as it may."""

    def give_way(self) -> None:
        """Close, because others need its place."""


class Place:
    """A connection among all others."""

    __slots__ = (
        "caller",
        "connection",
        "pending_bytes",
        "since_s",
        "state",
        "steps",
        "unread_bytes",
    )

    def __init__(self, connection: Watched, caller: str, now_s: float) -> None:
        self.connection = connection
        self.caller = caller
        self.state = State.NEW
        self.steps = 0
        self.since_s = now_s  # when this state was first seen
        self.pending_bytes = 0
        self.unread_bytes = 0


class Connections:
    """Those of one process."""

    def __init__(
        self,
        limits: Limits,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._limits = limits
        self._draining = draining
        self._places: set[Place] = set()
        self._round: list[Place] = []  # that this round of looks has not come to
        self._unread_bytes = 0
        self._full_at_s = -1.0  # when none was found that could give way
        self._noted: Counter[str] = Counter()
        self._logged_s = -_LOG_INTERVAL_S
        self._limit_s = {
            State.NEW: limits.head_s,
            State.HEAD: limits.head_s,
            State.HELD: SWEEP_INTERVAL_S,
            State.REST: limits.body_s,
            State.HALF_CLOSED: _HALF_CLOSED_S,
            State.WRITING: limits.write_s,
            State.IDLE: limits.idle_s,
            State.CLOSING: limits.write_s,
            State.REFUSED: _REFUSED_S,
        }
        self.sweep = Sweep(self._look)

    def __len__(self) -> int:
        return len(self._places)

    def bound(self, max_connections: int) -> None:
        """The process cannot have more than these."""
        self._limits = self._limits._replace(
            max_connections=min(max_connections, self._limits.max_connections)
        )

    def add(self, connection: Watched, caller: str) -> Place | None:
        """A new connection's place; None where all are taken by requests under way."""
        if len(self._places) >= self._limits.max_connections and not self._shed():
            self.note("refused, too many connections")
            return None
        place = Place(connection, caller, self.sweep.now_s)
        self._places.add(place)
        self.sweep.wake()
        return place

    def remove(self, place: Place) -> None:
        self.count_unread(place, 0)
        self._places.discard(place)

    def count_unread(self, place: Place, unread_bytes: int) -> None:
        """What a connection keeps of requests that are not there in full."""
        self._unread_bytes += unread_bytes - place.unread_bytes
        place.unread_bytes = unread_bytes
        if self._unread_bytes > self._limits.max_unread_bytes:
            self._free_unread()

    def note(self, event: str) -> None:
        """Count what a client did; the log has one line of all that within a minute."""
        self._noted[event] += 1
        self.sweep.wake()

    def _shed(self) -> bool:
        """End some of those that wait for a request: of the callers with most connections first,
        the oldest first.
        """
        now_s = self.sweep.now_s
        if self._full_at_s == now_s:
            return False
        spare = [one for one in self._places if one.connection.observe()[0] in _SPARE]
        counts = Counter(one.caller for one in self._places)
        spare.sort(key=lambda one: (-counts[one.caller], one.since_s))
        for place in spare[: 1 + self._limits.max_connections // 64]:
            self.note("ended for new connections")
            self._places.discard(place)
            place.connection.give_way()
        if not spare:
            self._full_at_s = now_s
        return bool(spare)

    def _free_unread(self) -> None:
        """End those that keep most, by caller, until a quarter of the room is free."""
        held: Counter[str] = Counter()
        for one in self._places:
            held[one.caller] += one.unread_bytes
        keeping = [one for one in self._places if one.unread_bytes]
        keeping.sort(key=lambda one: (-held[one.caller], one.since_s))
        for place in keeping:
            if self._unread_bytes <= 0.75 * self._limits.max_unread_bytes:
                break
            self.note("ended for room")
            self._unread_bytes -= place.unread_bytes
            place.unread_bytes = 0
            place.connection.give_way()

    def _look(self) -> bool:
        draining = self._draining()
        self._round = self._round or list(self._places)
        for place in self._round[-_LOOKS:]:
            if place in self._places:
                self._look_at(place, draining)
        del self._round[-_LOOKS:]
        self._log_noted()
        return bool(self._places or self._noted)

    def _look_at(self, place: Place, draining: bool) -> None:
        now_s = self.sweep.now_s
        state, steps = place.connection.observe()
        if state is not place.state or steps != place.steps:
            place.state, place.steps, place.since_s = state, steps, now_s
            place.pending_bytes = place.connection.pending_bytes() if state in _WRITES else 0
            return
        limit_s = self._limit_s.get(state)
        if limit_s is None:
            return
        if draining and state in _WRITES:
            limit_s = min(limit_s, _DRAIN_S)
        if state is State.HALF_CLOSED and place.connection.is_lost():
            limit_s = 0.0
        waited_s = now_s - place.since_s
        if waited_s < limit_s:
            return
        if state in _WRITES and self._has_read(place, waited_s):
            place.since_s = now_s
            return
        if state is not State.HELD:
            self.note(f"timed out waiting for {state.value}")
        place.connection.time_out(state, limit_s)

    def _has_read(self, place: Place, waited_s: float) -> bool:
        """Whether the client read fast enough since it was looked at last."""
        before, place.pending_bytes = place.pending_bytes, place.connection.pending_bytes()
        return before - place.pending_bytes >= self._limits.min_bytes_per_s * waited_s

    def _log_noted(self) -> None:
        if self._noted and self.sweep.now_s - self._logged_s >= _LOG_INTERVAL_S:
            self._logged_s = self.sweep.now_s
            counts = ", ".join(f"{count} {event}" for event, count in self._noted.most_common())
            _log.info("HTTP connections since the last such line: %s", counts)
            self._noted.clear()
