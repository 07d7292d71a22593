"""The eviction policy S3-FIFO: a small queue, a main queue, and a ghost queue of evicted keys.

Yang, Zhang, Qiu, Yue and Vinayak, *FIFO Queues are All You Need for Cache Eviction*, SOSP 2023. A
new answer enters the small queue, a tenth of the bytes. If it had a hit when it reaches the head,
it moves to the main queue; else it is evicted and its key enters the ghost queue. A key in the
ghost queue enters the main queue at once. In the main queue, a head without hits is evicted; any
other goes to the end with one hit less. So a hit only increments a counter, and answers used once
pass through a tenth of the cache. An answer leaves only at the head: one that expired or is
replaced loses its content and keeps its position: an expired entry.
"""

import math
from collections import deque
from dataclasses import dataclass

from cache.ghost_queue import GhostQueue
from cache.packing import Kept
from core.messages import Key

# Key, its slots in dictionary and queue, entry and packed answer without its content; measured
# with tracemalloc on Python 3.11, when the dictionary uses the most space.
ENTRY_BYTES = 360
SMALL_SHARE = 0.1
MAX_HITS = 3
MAX_SECOND_CHANCES = 64  # second chances in one eviction, which bounds its time


@dataclass(slots=True, eq=False)
class Entry:
    """A key in a queue; `hits` since it took its position, up to MAX_HITS."""

    key: Key
    kept: Kept | None  # None: the entry has expired
    size_bytes: int
    expires_at: float
    hits: int
    in_small: bool


class S3Fifo:
    """Holds entries in order of eviction; the caller evicts until a new one fits."""

    def __init__(self, capacity_bytes: int, slots: int) -> None:
        self.entries: dict[Key, Entry] = {}
        self.size_bytes = 0
        self.expired_entries = 0  # entries without an answer, still queued
        self._small: deque[Entry] = deque()
        self._main: deque[Entry] = deque()
        self._small_bytes = 0
        self._small_limit_bytes = int(capacity_bytes * SMALL_SHARE)
        self._ghosts = GhostQueue(slots)

    def add(self, key: Key, kept: Kept, size_bytes: int, expires_at: float) -> None:
        """Add a key without an entry; a key in the ghost queue skips the small queue."""
        in_small = not self._ghosts.contains(key, len(self.entries))
        entry = Entry(key, kept, size_bytes, expires_at, 0, in_small)
        self.entries[key] = entry
        self.size_bytes += size_bytes
        if in_small:
            self._small.append(entry)
            self._small_bytes += size_bytes
        else:
            self._main.append(entry)

    def refill(self, entry: Entry, kept: Kept, size_bytes: int, expires_at: float) -> None:
        """Give an expired entry an answer; this counts as a hit."""
        entry.kept = kept
        entry.expires_at = expires_at
        entry.hits = min(entry.hits + 1, MAX_HITS)
        self.expired_entries -= 1
        self._resize(entry, size_bytes)

    def expire(self, entry: Entry) -> None:
        """Take the answer out of an entry, unless it has expired already."""
        if entry.kept is None:
            return
        entry.kept = None
        entry.expires_at = -math.inf
        self.expired_entries += 1
        self._resize(entry, ENTRY_BYTES)

    def evict(self, now: float) -> Entry:
        """Remove one entry and return it.

        Heads with hits get a second chance, but at most MAX_SECOND_CHANCES of them, so that storing
        stays fast when every answer of a large cache has hits.
        """
        spared = 0
        while True:
            from_small = self._small_bytes > self._small_limit_bytes or not self._main
            entry = (self._small if from_small else self._main).popleft()
            if not entry.hits or now >= entry.expires_at or spared == MAX_SECOND_CHANCES:
                break
            spared += 1
            if from_small:
                self._small_bytes -= entry.size_bytes
                entry.in_small = False
                entry.hits = 0
            else:
                entry.hits -= 1
            self._main.append(entry)
        del self.entries[entry.key]
        self.expired_entries -= entry.kept is None
        self.size_bytes -= entry.size_bytes
        if from_small:
            self._small_bytes -= entry.size_bytes
            self._ghosts.add(entry.key)
        return entry

    def check_invariants(self) -> None:
        """Assert that every key is in one queue, and that bytes and counters add up."""
        queued = [*self._small, *self._main]
        assert {id(entry) for entry in queued} == set(map(id, self.entries.values()))
        assert len(queued) == len(self.entries), "an entry stands twice"
        assert all(self.entries[entry.key] is entry for entry in queued), "a key has two entries"
        assert all(entry.in_small for entry in self._small), "an entry believes to be elsewhere"
        assert not any(entry.in_small for entry in self._main), "an entry believes to be elsewhere"
        small_bytes = sum(entry.size_bytes for entry in self._small)
        assert small_bytes == self._small_bytes, f"{small_bytes} small, {self._small_bytes} counted"
        total = sum(entry.size_bytes for entry in queued)
        assert total == self.size_bytes, f"{total} bytes kept, {self.size_bytes} counted"
        expired = [entry for entry in queued if entry.kept is None]
        assert len(expired) == self.expired_entries, (
            f"{len(expired)} have expired, {self.expired_entries} counted"
        )
        assert all(entry.size_bytes == ENTRY_BYTES for entry in expired), (
            "an expired entry has content"
        )
        assert all(0 <= entry.hits <= MAX_HITS for entry in queued), "hits out of bounds"

    def _resize(self, entry: Entry, size_bytes: int) -> None:
        more_bytes = size_bytes - entry.size_bytes
        entry.size_bytes = size_bytes
        self.size_bytes += more_bytes
        if entry.in_small:
            self._small_bytes += more_bytes
