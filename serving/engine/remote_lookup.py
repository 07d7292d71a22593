"""Looks rows up in the remote cache, which processes share, before they cost device time.

Rows that the local cache does not hold wait here, and one lookup serves all that have arrived. Rows
that are not found go on to their lane. A lookup happens only if a row's measured device time is
longer than the measured lookup time of a key. If it is not, a few keys are looked up now and then
without delaying their rows, so that the measured time stays current. Such lookups also test a
remote cache that has failed. No row waits longer than the remote cache's timeout. How the remote
cache works and fails is its own concern: here it either answers or does not.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from cache.circuit_breaker import BreakerState
from cache.encoding import StoredAnswer
from cache.local_cache import LocalCache
from cache.remote_counts import RemoteCounts
from core.messages import Key, Outcome
from serving.scheduling.batch_times import UnitCost
from serving.scheduling.lanes import Flight, Lane
from serving.scheduling.scheduler import Scheduler
from serving.scheduling.traced_rows import trace_remote_lookup

MAX_KEYS = 64  # for each lookup
MAX_WAITING = 512
MEASURE_EVERY_S = 1.0
MEASURE_FOR_S = 0.01

_log = logging.getLogger("sparing.cache")


class RemoteAnswers(Protocol):
    """A cache outside the process, as far as the engine needs it. None of it raises."""

    @property
    def timeout_s(self) -> float: ...
    @property
    def max_concurrent_lookups(self) -> int:
        """Return how many lookups may be under way at once."""

    def lookup_state(self) -> BreakerState: ...
    async def look_up(
        self, keys: Sequence[Key], within_s: float | None = None
    ) -> Sequence[StoredAnswer | None] | None:
        """Return the stored answer of each key; None if the cache could not be reached."""

    def put(self, key: Key, outcome: Outcome, ttl_s: float | None = None) -> None: ...
    def counts(self) -> RemoteCounts: ...
    async def close(self) -> None: ...


class _PendingLookup(NamedTuple):
    """A key to look up and the row that waits for it; None for a lookup that only measures."""

    key: Key
    waiting_since: float
    flight: Flight | None


class RemoteLookup:
    """Comes before the scheduler's lanes; lives on the event loop."""

    def __init__(
        self,
        tier: RemoteAnswers,
        memory: LocalCache,
        scheduler: Scheduler,
        reply_margin_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tier = tier
        self._memory = memory
        self._scheduler = scheduler
        self._loop = asyncio.get_running_loop()
        self._margin_s = reply_margin_s
        self._clock = clock
        self._key_cost = UnitCost(clock)
        self._measured_at = 0.0
        self._waiting: list[_PendingLookup] = []
        self._lookup_tasks: set[asyncio.Task[None]] = set()
        self._lookups_due = False

    def enqueue(self, flight: Flight, lane: Lane, now: float) -> None:
        """Like the scheduler's `enqueue`: take the row to its lane, after a lookup if that is worth
        it.
        """
        if flight.key is None or lane.cache_ttl_s is None:
            self._scheduler.enqueue(flight, lane, now)
            return
        state = self.tier.lookup_state()
        room = len(self._waiting) < MAX_WAITING
        if state == "closed" and room and self._is_worthwhile(lane):
            lane.looked_up += 1
            self._wait(_PendingLookup(flight.key, now, flight))
            return
        is_trial = state == "half-open" and not self._waiting
        if room and (is_trial or (state == "closed" and self._measures(now))):
            self._wait(_PendingLookup(flight.key, now, None))
        self._scheduler.enqueue(flight, lane, now)

    def store_answer(self, key: Key, outcome: Outcome, lane: Lane) -> None:
        """Store a row's final answer for the other processes."""
        if lane.cache_ttl_s is not None and self._is_worthwhile(lane):
            self.tier.put(key, outcome, lane.cache_ttl_s)

    def key_s(self) -> float | None:
        """Return the measured seconds for each key; None before the first measurement."""
        return self._key_cost.unit_s()

    def close(self) -> None:
        for task in self._lookup_tasks:
            task.cancel()

    # Is a lookup worth it? ---------------------------------------------------------------------

    def _is_worthwhile(self, lane: Lane) -> bool:
        key_s = self._key_cost.unit_s()
        if key_s is None:
            return True
        row_s = lane.row_cost.unit_s()
        return (lane.times.predict_s(1) if row_s is None else row_s) > key_s

    def _measures(self, now: float) -> bool:
        """Return True for a short time at intervals, to measure."""
        if now - self._measured_at >= MEASURE_EVERY_S:
            self._measured_at = now
        return now - self._measured_at < MEASURE_FOR_S

    # Lookups ----------------------------------------------------------------------------------

    def _wait(self, pending: _PendingLookup) -> None:
        self._waiting.append(pending)
        if not self._lookups_due:
            self._lookups_due = True
            self._loop.call_soon(self._start_lookups)

    def _start_lookups(self) -> None:
        """Look up what waits, as far as lookups are free; each one that ends calls this again."""
        self._lookups_due = False
        while self._waiting and len(self._lookup_tasks) < self.tier.max_concurrent_lookups:
            batch, self._waiting = self._waiting[:MAX_KEYS], self._waiting[MAX_KEYS:]
            batch = [pending for pending in batch if self._may_wait(pending)]
            if batch:
                task = self._loop.create_task(self._look_up(batch))
                self._lookup_tasks.add(task)
                task.add_done_callback(self._on_lookup_done)

    def _may_wait(self, pending: _PendingLookup) -> bool:
        """Return whether the row may wait for a lookup.

        False if no client waits for it any more, or if it goes to its lane because it has waited
        too long or has no time to.
        """
        flight = pending.flight
        if flight is None:
            return True
        now = self._clock()
        timeout_s = self.tier.timeout_s
        if flight.done or now - pending.waiting_since > timeout_s / 2:
            self._release(flight, now)
            return False
        deadlines = [one.deadline for one, _ in flight.waiters if one.deadline is not None]
        if deadlines:
            left_s = min(deadlines) - self._margin_s - now
            if left_s < timeout_s + self._scheduler.predict_s(
                flight.lane, flight.due, now, claim=flight.claim
            ):
                self._release(flight, now)
                return False
        return True

    async def _look_up(self, batch: Sequence[_PendingLookup]) -> None:
        found: Sequence[StoredAnswer | None] | None = None
        began = self._clock()
        is_trial = self.tier.lookup_state() != "closed"  # which must connect first
        oldest = min(pending.waiting_since for pending in batch)
        try:
            within_s = max(self.tier.timeout_s / 2, self.tier.timeout_s - (began - oldest))
            found = await self.tier.look_up([pending.key for pending in batch], within_s)
        finally:
            now = self._clock()
            if found is not None and not is_trial:
                self._key_cost.observe(len(batch), now - began)
            answers = found or [None] * len(batch)
            if self._scheduler.traced:
                trace_remote_lookup(_lookup_results(batch, answers), now)
            for pending, known in zip(batch, answers, strict=True):
                if pending.flight is not None:
                    self._answer_safely(pending.flight, pending.key, known, now)

    def _on_lookup_done(self, task: "asyncio.Task[None]") -> None:
        self._lookup_tasks.discard(task)
        self._start_lookups()

    def _answer_safely(
        self, flight: Flight, key: Key, known: StoredAnswer | None, now: float
    ) -> None:
        """Answer one row; an error in it must not delay the others."""
        try:
            self._answer(flight, key, known, now)
        except Exception:
            _log.exception("a row could not be answered from the remote cache; it is computed")
            if not flight.done:
                self._scheduler.enqueue(flight, flight.lane, now)

    def _answer(self, flight: Flight, key: Key, known: StoredAnswer | None, now: float) -> None:
        least = flight.controls.get("min_confidence", 0.0)
        if flight.done or known is None or known.outcome.confidence < least:
            self._release(flight, now)
            return
        flight.lane.looked_up -= 1
        cache_ttl_s = flight.lane.cache_ttl_s
        if cache_ttl_s is not None:
            ttl_s = min(cache_ttl_s, known.left_s)
            self._memory.put(key, known.outcome, ttl_s)
            if flight.probe is not None:  # computed, though by another process
                flight.probe.complete(known.outcome, ttl_s)
        self._scheduler.finish_from_cache(flight, known.outcome)

    def _release(self, flight: Flight, now: float) -> None:
        """Send the row to its lane, if a client still waits for it."""
        flight.lane.looked_up -= 1
        if not flight.done:
            self._scheduler.enqueue(flight, flight.lane, now)


def _lookup_results(
    batch: Sequence[_PendingLookup], answers: Sequence[StoredAnswer | None]
) -> Iterator[tuple[Flight, float, bool]]:
    """Yield each row that waited for a lookup, since when it waited, and whether it was found."""
    for pending, known in zip(batch, answers, strict=True):
        if pending.flight is not None:
            yield pending.flight, pending.waiting_since, known is not None
