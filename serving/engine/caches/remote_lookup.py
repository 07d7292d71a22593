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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from cache.circuit_breaker import BreakerState
from cache.encoding import StoredAnswer
from cache.local_cache import LocalCache
from cache.remote_counts import RemoteCounts
from core.columns import stack_outcomes
from core.messages import Key, Outcome, Outcomes
from serving.scheduling.batch_times import UnitCost
from serving.scheduling.lanes import Lane
from serving.scheduling.prediction import extra_s
from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.traced_rows import trace_remote_lookup
from serving.scheduling.schedulers import Schedulers

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
    """Keys to look up and the block that waits for them; None for a lookup that only measures."""

    keys: Sequence[Key]
    waiting_since: float
    block: Block | None


class RemoteLookup:
    """Comes before the schedulers' lanes; lives on the event loop."""

    def __init__(
        self,
        tier: RemoteAnswers,
        memory: LocalCache,
        schedulers: Schedulers,
        reply_margin_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tier = tier
        self._memory = memory
        self._schedulers = schedulers
        self._loop = asyncio.get_running_loop()
        self._margin_s = reply_margin_s
        self._clock = clock
        self._key_cost = UnitCost(clock)
        self._measured_at = 0.0
        self._waiting: deque[_PendingLookup] = deque()
        self._waiting_keys = 0
        self._lookup_tasks: set[asyncio.Task[None]] = set()
        self._lookups_due = False

    def enqueue(self, block: Block, lane: Lane, now: float) -> None:
        """Like the schedulers' `enqueue`: take the rows to their lane, after a lookup if that is
        worth it.
        """
        if block.keys is None or lane.cache_ttl_s is None:
            self._schedulers.enqueue(block, lane, now)
            return
        state = self.tier.lookup_state()
        keys = block.keys
        free = MAX_WAITING - self._waiting_keys
        if state == "closed" and free > 0 and self._is_worthwhile(lane):
            if len(block) > free:
                rest, block = block, block.split_head(free)
                self._schedulers.enqueue(rest, lane, now)
            self._wait_for(block, lane, now)
            return
        is_trial = state == "half-open" and not self._waiting
        if free > 0 and (is_trial or (state == "closed" and self._measures(now))):
            self._wait(_PendingLookup(keys[:MAX_KEYS], now, None))
        self._schedulers.enqueue(block, lane, now)

    def store_answers(
        self, keys: Sequence[Key], outcomes: Outcomes, at: Sequence[int], lane: Lane
    ) -> None:
        """Store rows' final answers for the other processes."""
        if lane.cache_ttl_s is not None and self._is_worthwhile(lane):
            for key, place in zip(keys, at, strict=True):
                self.tier.put(key, outcomes.row(place), lane.cache_ttl_s)

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

    def _wait_for(self, block: Block, lane: Lane, now: float) -> None:
        """Let rows wait for a lookup, in parts that fit into one."""
        while True:
            part = block if len(block) <= MAX_KEYS else block.split_head(MAX_KEYS)
            lane.looked_up += len(part)
            self._wait(_PendingLookup(part.keys or (), now, part))
            if part is block:
                return

    def _wait(self, pending: _PendingLookup) -> None:
        self._waiting.append(pending)
        self._waiting_keys += len(pending.keys)
        if not self._lookups_due:
            self._lookups_due = True
            self._loop.call_soon(self._start_lookups)

    def _start_lookups(self) -> None:
        """Look up what waits, as far as lookups are free; each one that ends calls this again."""
        self._lookups_due = False
        while self._waiting and len(self._lookup_tasks) < self.tier.max_concurrent_lookups:
            batch = [pending for pending in self._take() if self._may_wait(pending)]
            if batch:
                task = self._loop.create_task(self._look_up(batch))
                self._lookup_tasks.add(task)
                task.add_done_callback(self._on_lookup_done)

    def _take(self) -> list[_PendingLookup]:
        """Take what has waited longest, up to the keys of one lookup."""
        batch: list[_PendingLookup] = []
        keys = 0
        while self._waiting and keys + len(self._waiting[0].keys) <= MAX_KEYS:
            pending = self._waiting.popleft()
            keys += len(pending.keys)
            batch.append(pending)
        self._waiting_keys -= keys
        return batch

    def _may_wait(self, pending: _PendingLookup) -> bool:
        """Return whether the rows may wait for a lookup.

        False if no client waits for them any more, or if they go to their lane because they have
        waited too long or have no time to.
        """
        block = pending.block
        if block is None:
            return True
        now = self._clock()
        timeout_s = self.tier.timeout_s
        if block.done or now - pending.waiting_since > timeout_s / 2:
            self._release(block, now)
            return False
        deadlines = [one.deadline for one in block.waiters() if one.deadline is not None]
        if deadlines:
            left_s = min(deadlines) - self._margin_s - now
            needed_s = self._schedulers.of(block.lane).predict_s(
                block.lane, block.due, now, len(block), claim=block.claim
            )
            if left_s < timeout_s + needed_s + extra_s(block.lane, len(block), block.cost_share):
                self._release(block, now)
                return False
        return True

    async def _look_up(self, batch: Sequence[_PendingLookup]) -> None:
        found: Sequence[StoredAnswer | None] | None = None
        began = self._clock()
        is_trial = self.tier.lookup_state() != "closed"  # which must connect first
        oldest = min(pending.waiting_since for pending in batch)
        try:
            within_s = max(self.tier.timeout_s / 2, self.tier.timeout_s - (began - oldest))
            keys = [key for pending in batch for key in pending.keys]
            found = await self.tier.look_up(keys, within_s)
        finally:
            now = self._clock()
            if found is not None and not is_trial:
                self._key_cost.observe(len(found), now - began)
            known = _share_out(batch, found)
            if self._schedulers.traced:
                trace_remote_lookup(_lookup_results(batch, known), now)
            for pending, answers in zip(batch, known, strict=True):
                if pending.block is not None:
                    self._answer_safely(pending.block, answers, now)

    def _on_lookup_done(self, task: "asyncio.Task[None]") -> None:
        self._lookup_tasks.discard(task)
        self._start_lookups()

    def _answer_safely(
        self, block: Block, known: Sequence[StoredAnswer | None], now: float
    ) -> None:
        """Answer the rows of one block; an error in it must not delay the others."""
        block.lane.looked_up -= len(block)
        if block.done:
            return
        least = block.controls.get("min_confidence", 0.0)
        hits = [
            place
            for place, one in enumerate(known)
            if one is not None and one.outcome.confidence >= least
        ]
        if not hits:
            self._schedulers.enqueue(block, block.lane, now)
            return
        answers = [known[place] for place in hits]
        found = block if len(hits) == len(block) else block.split(hits)
        try:
            self._keep(found, [one for one in answers if one is not None])
        except Exception:
            _log.exception("rows could not be answered from the remote cache; they are computed")
            if not found.done:
                self._schedulers.enqueue(found, found.lane, now)
        if found is not block:
            self._schedulers.enqueue(block, block.lane, now)

    def _keep(self, block: Block, answers: Sequence[StoredAnswer]) -> None:
        """Store the answers in this process too, and end the rows with them."""
        cache_ttl_s = block.lane.cache_ttl_s
        if cache_ttl_s is not None and block.keys is not None:
            for row, key, one in zip(block.rows, block.keys, answers, strict=True):
                ttl_s = min(cache_ttl_s, one.left_s)
                self._memory.put(key, one.outcome, ttl_s)
                if block.probes and row in block.probes:  # computed, though by another process
                    block.probes[row].complete(one.outcome, ttl_s)
        outcomes = stack_outcomes([one.outcome for one in answers])
        self._schedulers.of(block.lane).finish_from_cache(block, outcomes, range(len(answers)))

    def _release(self, block: Block, now: float) -> None:
        """Send the rows to their lane, if a client still waits for them."""
        block.lane.looked_up -= len(block)
        if not block.done:
            self._schedulers.enqueue(block, block.lane, now)


def _share_out(
    batch: Sequence[_PendingLookup], found: Sequence[StoredAnswer | None] | None
) -> list[Sequence[StoredAnswer | None]]:
    """Return the part of a lookup's answers that belongs to each of those that waited."""
    parts: list[Sequence[StoredAnswer | None]] = []
    start = 0
    for pending in batch:
        end = start + len(pending.keys)
        parts.append([None] * len(pending.keys) if found is None else found[start:end])
        start = end
    return parts


def _lookup_results(
    batch: Sequence[_PendingLookup], known: Sequence[Sequence[StoredAnswer | None]]
) -> Iterator[tuple[Block, float, Sequence[bool]]]:
    """Yield each block that waited for a lookup, since when it waited, and which of its rows were
    found.
    """
    for pending, answers in zip(batch, known, strict=True):
        if pending.block is not None:
            yield pending.block, pending.waiting_since, [one is not None for one in answers]
