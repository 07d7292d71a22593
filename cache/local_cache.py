"""The answer cache of this process, bounded in bytes.

Each answer has a time to live. `cache/s3_fifo.py` decides which one is evicted first; its overhead
counts towards the limit. Only the event loop uses the cache, so it has no lock. Keys include the
route.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cache.ghost_queue import SLOT_BYTES
from cache.packing import Kept, Packed, count_kept_bytes, pack, read_confidence, unpack
from cache.s3_fifo import ENTRY_BYTES, MAX_HITS, Entry, S3Fifo
from core.columns import stack_outcomes
from core.messages import Key, Outcome, Outcomes


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

    def find(
        self, keys: Sequence[Key | None], least: float = 0.0, *, count_misses: bool = True
    ) -> list[tuple[list[int], Outcomes]]:
        """Return the answers with at least this confidence that are stored under these keys, with
        their positions; together those of one kind. None is a key that is never found.

        `count_misses` is false for a lookup that is followed by another one after a miss.
        """
        find, hits = self._find, 0
        found: dict[int, tuple[list[int], list[Packed]]] = {}
        texts: list[tuple[list[int], Outcomes]] = []
        for place, key in enumerate(keys):
            if key is None or (entry := find(key)) is None or not self._is_hit(entry):
                continue
            hits += 1
            kept = entry.kept
            if kept is None or (least and read_confidence(kept) < least):
                continue
            if isinstance(kept, Outcome):
                texts.append(([place], stack_outcomes([kept])))
                continue
            places, packed = found.setdefault(id(kept.layout), ([], []))
            places.append(place)
            packed.append(kept)
        self._hits += hits
        if count_misses:
            self._misses += len(keys) - hits
        return [(places, unpack(packed)) for places, packed in found.values()] + texts

    def find_packed(self, key: Key) -> Packed | None:
        """Return one stored answer, if it is stored as bytes. A miss is not counted: `find`
        follows.
        """
        entry = self._find(key)
        if entry is None or not isinstance(entry.kept, Packed) or not self._is_hit(entry):
            return None
        self._hits += 1
        return entry.kept

    def get(self, key: Key, *, count_miss: bool = True) -> Outcome | None:
        """Return one answer, or None if there is none or it has expired."""
        found = self.find([key], count_misses=count_miss)
        return found[0][1].row(0) if found else None

    def holds(self, key: Key) -> bool:
        """Return whether an answer is stored under the key. This lookup is not counted."""
        entry = self._find(key)
        return entry is not None and entry.kept is not None and self._clock() < entry.expires_at

    def put_rows(
        self, keys: Sequence[Key], outcomes: Outcomes, at: Sequence[int], ttl_s: float | None = None
    ) -> None:
        """Store the answers at the positions `at` for `ttl_s` seconds (default: the cache's); they
        replace older ones.
        """
        now = self._clock()
        expires_at = now + (self._ttl_s if ttl_s is None else ttl_s)
        if not outcomes.packed:  # blocks of one batch share their columns
            outcomes.packed = pack(outcomes)
        packed = outcomes.packed
        queues, entries, capacity_bytes = self._queues, self._queues.entries, self._capacity_bytes
        for key, place in zip(keys, at, strict=True):
            kept = packed[place]
            size_bytes = ENTRY_BYTES + count_kept_bytes(kept)
            if key in entries or size_bytes > capacity_bytes:
                self._replace(key, kept, size_bytes, expires_at, now)
                continue
            while queues.size_bytes + size_bytes > capacity_bytes:
                self._count_evicted(queues.evict(now), now)
            queues.add(key, kept, size_bytes, expires_at)
            self._stores += 1

    def put(self, key: Key, outcome: Outcome, ttl_s: float | None = None) -> None:
        """Store one answer."""
        self.put_rows([key], stack_outcomes([outcome]), range(1), ttl_s)

    def _is_hit(self, entry: Entry) -> bool:
        if self._clock() >= entry.expires_at:
            self._expirations += entry.kept is not None
            self._queues.expire(entry)
            return False
        if entry.hits < MAX_HITS:
            entry.hits += 1
        return True

    def _replace(
        self, key: Key, kept: Kept, size_bytes: int, expires_at: float, now: float
    ) -> None:
        """Store an answer in the entry that its key has, or reject one that is too large."""
        queues = self._queues
        entry = self._find(key)
        if entry is not None:
            queues.expire(entry)
        if size_bytes > self._capacity_bytes:
            self._rejected += 1
            return
        if queues.size_bytes + size_bytes > self._capacity_bytes:
            self._evict_to_fit(key, size_bytes, now)
            entry = self._find(key)
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
        """Assert that sizes add up."""
        self._queues.check_invariants()
        held = self._queues.size_bytes
        assert held <= self._capacity_bytes, f"{held} bytes kept, {self._capacity_bytes} allowed"

    def _evict_to_fit(self, key: Key, size_bytes: int, now: float) -> None:
        """Evict until an answer of this size fits, given the entry that its key may have."""
        queues = self._queues
        while True:
            kept_bytes = ENTRY_BYTES if key in queues.entries else 0
            if queues.size_bytes - kept_bytes + size_bytes <= self._capacity_bytes:
                return
            self._count_evicted(queues.evict(now), now)

    def _count_evicted(self, gone: Entry, now: float) -> None:
        if gone.kept is None:
            return
        if now < gone.expires_at:
            self._evictions += 1
        else:
            self._expirations += 1
