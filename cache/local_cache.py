"""The local cache: answers kept in this process, bounded in bytes.

Each answer has a time to live; which leaves first is the business of `cache/s3_fifo.py`, whose own
bytes count too. Used from the event loop only, hence without a lock. Knows nothing of routes: the
keys tell them apart.
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
    """What a cache has done since it was made, and what it holds now."""

    hits: int
    misses: int
    stores: int
    evictions: int
    expirations: int
    rejected: int  # larger than the whole cache
    size_bytes: int
    entries: int


class LocalCache:
    """At most `limit_bytes`, the queues' own included; `clock` gives seconds that never go back."""

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
        slots = limit_bytes // ENTRY_BYTES + 1  # no more answers than this can be held
        self._own_bytes = SLOT_BYTES * slots
        self._capacity_bytes = max(0, limit_bytes - self._own_bytes)
        self._queues = S3Fifo(self._capacity_bytes, slots)
        self._find = self._queues.entries.get
        self._hits = self._misses = self._stores = 0
        self._evictions = self._expirations = self._rejected = 0

    def get(self, key: Key, *, count_miss: bool = True) -> Outcome | None:
        """The answer, or None when it is unknown or too old.

        A first look that another one follows in case of a miss does not count the miss.
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
        """Keep the answer for `ttl_s` (default: the cache's); an older one of this key goes."""
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
        """Assert that the books balance; nothing kept can be written or pins a larger array."""
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
        """Evict until an answer of this size fits, in the place that its key has, if any."""
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
    if array.dtype.hasobject:  # text and the like, to which the array only points
        size_bytes += sum(map(sys.getsizeof, array.flat))
    return size_bytes


def own_copy(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A read-only array with its own bytes: itself if it is one, else a copy."""
    if array.base is None and not array.flags.writeable:
        return array
    copy = np.array(array)
    copy.setflags(write=False)
    return copy
