"""The first tier of memory: answers kept in this process, least recently used out first.

Bounded in bytes, each answer with a time to live. Used from the event loop only, hence without a
lock; the plain `get` and `put` spare the hot path a coroutine, `recall` and `store` are the Memory
protocol. Knows nothing of routes: the keys tell them apart.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.messages import Key, Outcome

ENTRY_BYTES = (
    560  # key, dict slots, entry and outcome objects; measured with tracemalloc on Python 3.11
)
ARRAY_BYTES = 128  # an array's header, its shape and its slot in `outputs`


@dataclass(frozen=True, slots=True)
class MemoryCounts:
    """What a memory has done since it was made, and what it holds now."""

    hits: int
    misses: int
    stores: int
    evictions: int
    expirations: int
    rejected: int  # larger than the whole memory
    size_bytes: int
    entries: int


@dataclass(slots=True)
class _Entry:
    outcome: Outcome
    size_bytes: int
    expires_at: float


class LocalMemory:
    """Least recently used, at most `limit_bytes`; `clock` gives seconds that never go back."""

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
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._size_bytes = 0
        self._hits = self._misses = self._stores = 0
        self._evictions = self._expirations = self._rejected = 0

    def get(self, key: Key, *, count_miss: bool = True) -> Outcome | None:
        """The answer, or None when it is unknown or too old.

        A first look that another one follows in case of a miss does not count the miss.
        """
        entry = self._entries.get(key)
        if entry is None:
            self._misses += count_miss
            return None
        if self._clock() >= entry.expires_at:
            self._drop(key)
            self._expirations += 1
            self._misses += count_miss
            return None
        self._entries.move_to_end(key)
        self._hits += 1
        return entry.outcome

    def put(self, key: Key, outcome: Outcome, ttl_s: float | None = None) -> None:
        """Keep the answer for `ttl_s` (default: the memory's); an older one of this key goes."""
        if key in self._entries:
            self._drop(key)
        outputs = {name: own(array) for name, array in outcome.outputs.items()}
        size_bytes = ENTRY_BYTES + sum(map(count_bytes, outputs.values()))
        if size_bytes > self._limit_bytes:
            self._rejected += 1
            return
        while self._size_bytes + size_bytes > self._limit_bytes:
            self._drop(next(iter(self._entries)))
            self._evictions += 1
        kept = Outcome(outputs, outcome.confidence, outcome.exit)
        expires_at = self._clock() + (self._ttl_s if ttl_s is None else ttl_s)
        self._entries[key] = _Entry(kept, size_bytes, expires_at)
        self._size_bytes += size_bytes
        self._stores += 1

    async def recall(self, keys: Sequence[Key], /) -> Sequence[Outcome | None]:
        """`get` for every key, in order."""
        return [self.get(key) for key in keys]

    async def store(
        self, items: Sequence[tuple[Key, Outcome]], /, *, ttl_s: float | None = None
    ) -> None:
        """`put` for every item, in order."""
        for key, outcome in items:
            self.put(key, outcome, ttl_s)

    def counts(self) -> MemoryCounts:
        return MemoryCounts(
            hits=self._hits,
            misses=self._misses,
            stores=self._stores,
            evictions=self._evictions,
            expirations=self._expirations,
            rejected=self._rejected,
            size_bytes=self._size_bytes,
            entries=len(self._entries),
        )

    def check(self) -> None:
        """Assert that the books balance; nothing kept can be written or pins a larger array."""
        total = sum(entry.size_bytes for entry in self._entries.values())
        assert total == self._size_bytes, f"{total} bytes kept, {self._size_bytes} counted"
        assert total <= self._limit_bytes, f"{total} bytes kept, {self._limit_bytes} allowed"
        for entry in self._entries.values():
            for name, array in entry.outcome.outputs.items():
                assert not array.flags.writeable, f"{name} can be written"
                assert array.base is None, f"{name} pins another array"

    def _drop(self, key: Key) -> None:
        self._size_bytes -= self._entries.pop(key).size_bytes


def count_bytes(array: npt.NDArray[np.generic]) -> int:
    size_bytes = ARRAY_BYTES + array.nbytes
    if array.dtype.hasobject:  # text and the like, to which the array only points
        size_bytes += sum(map(sys.getsizeof, array.flat))
    return size_bytes


def own(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A read-only array with its own bytes: itself if it is one, else a copy."""
    if array.base is None and not array.flags.writeable:
        return array
    copy = np.array(array)
    copy.setflags(write=False)
    return copy
