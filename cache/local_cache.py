"""The answer cache of this process, bounded in bytes.

Each answer has a time to live. `cache/s3_fifo.py` decides which one is evicted first; its overhead
counts towards the limit. Only the event loop uses the cache, so it has no lock. Keys include the
route.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.ghost_queue import SLOT_BYTES
from cache.s3_fifo import ENTRY_BYTES, MAX_HITS, S3Fifo
from core.messages import Key, Outcome

ARRAY_BYTES = 128  # an array's header, its shape and its slot in `outputs`


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """Counts since the cache was created, and its current content."""

    hits: int
    misses: int
    stores: int
    evictions: int
    expirations: int
    rejected: int  # larger than the whole cache
    size_bytes: int
    entries: int


class LocalCache:
    """Holds at most `limit_bytes`, with overhead; `clock` returns seconds that never decrease."""

    def __init__(
        self,
        limit_bytes: int,
        *,
        ttl_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if limit_bytes <= 0:
            raise ValueError(f"limit_bytes: {limit_bytes} given, more than 0 is allowed")
        self._limit_bytes = limit_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        slots = limit_bytes // ENTRY_BYTES + 1  # the largest possible number of answers
        self._own_bytes = SLOT_BYTES * slots
        self._capacity_bytes = max(0, limit_bytes - self._own_bytes)
        self._queues = S3Fifo(self._capacity_bytes, slots)
        self._find = self._queues.entries.get
        self._hits = self._misses = self._stores = 0
        self._evictions = self._expirations = self._rejected = 0

    def get(self, key: Key, *, count_miss: bool = True) -> Outcome | None:
        """Return the answer, or None if there is none or it has expired.

        `count_miss` is false for a lookup that is followed by another one after a miss.
        """
        entry = self._find(key)
        if entry is None:
            self._misses += count_miss
            return None
        if self._clock() >= entry.expires_at:
            self._expirations += entry.outcome is not None
            self._queues.expire(entry)
            self._misses += count_miss
            return None
        if entry.hits < MAX_HITS:
            entry.hits += 1
        self._hits += 1
        return entry.outcome

    def put(self, key: Key, outcome: Outcome, ttl_s: float | None = None) -> None:
        """Store the answer for `ttl_s` seconds (default: the cache's); it replaces an older one."""
        queues = self._queues
        entry = self._find(key)
        if entry is not None:
            queues.expire(entry)
        outputs = {name: own_copy(array) for name, array in outcome.outputs.items()}
        size_bytes = ENTRY_BYTES + sum(map(count_bytes, outputs.values()))
        if size_bytes > self._capacity_bytes:
            self._rejected += 1
            return
        now = self._clock()
        if queues.size_bytes + size_bytes > self._capacity_bytes:
            self._evict_to_fit(key, size_bytes, now)
            entry = self._find(key)
        kept = Outcome(outputs, outcome.confidence, outcome.exit)
        expires_at = now + (self._ttl_s if ttl_s is None else ttl_s)
        if entry is None:
            queues.add(key, kept, size_bytes, expires_at)
        else:
            queues.refill(entry, kept, size_bytes, expires_at)
        self._stores += 1

    def counts(self) -> CacheCounts:
        return CacheCounts(
            hits=self._hits,
            misses=self._misses,
            stores=self._stores,
            evictions=self._evictions,
            expirations=self._expirations,
            rejected=self._rejected,
            size_bytes=self._own_bytes + self._queues.size_bytes,
            entries=len(self._queues.entries) - self._queues.expired_entries,
        )

    def check_invariants(self) -> None:
        """Assert that sizes add up, and that arrays are read-only and own their bytes."""
        self._queues.check_invariants()
        held = self._queues.size_bytes
        assert held <= self._capacity_bytes, f"{held} bytes kept, {self._capacity_bytes} allowed"
        for entry in self._queues.entries.values():
            if entry.outcome is None:
                continue
            for name, array in entry.outcome.outputs.items():
                assert not array.flags.writeable, f"{name} can be written"
                assert array.base is None, f"{name} pins another array"

    def _evict_to_fit(self, key: Key, size_bytes: int, now: float) -> None:
        """Evict until an answer of this size fits, given the entry that its key may have."""
        queues = self._queues
        while True:
            kept_bytes = ENTRY_BYTES if key in queues.entries else 0
            if queues.size_bytes - kept_bytes + size_bytes <= self._capacity_bytes:
                return
            gone = queues.evict(now)
            if gone.outcome is None:
                continue
            if now < gone.expires_at:
                self._evictions += 1
            else:
                self._expirations += 1


def count_bytes(array: npt.NDArray[np.generic]) -> int:
    size_bytes = ARRAY_BYTES + array.nbytes
    if array.dtype.hasobject:  # objects such as text, which the array only points to
        size_bytes += sum(map(sys.getsizeof, array.flat))
    return size_bytes


def own_copy(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return a read-only array that owns its bytes: the array itself if it does, else a copy."""
    if array.base is None and not array.flags.writeable:
        return array
    copy = np.array(array)
    copy.setflags(write=False)
    return copy
