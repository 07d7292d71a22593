"""A cache for similar pictures: a lookup finds the answer of a picture that looks almost the same.

It compares hashes with all pictures of the namespace, takes the few nearest, and returns an answer
only if the signature matches too. The cache is bounded in bytes; each answer has a time to live,
and the least recently used one is evicted first. Only the event loop uses it. The owner decides
which answers may be used and stored.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from cache.packing import ARRAY_BYTES, count_bytes, own_copy
from cache.perceptual import Bounds, Floats, Hashes, Sketch, find_most_similar
from core.messages import Outcome

# Entry, its place in the order and on its shelf, outcome and sketch; measured with tracemalloc.
ENTRY_BYTES = 960
BUCKET_BYTES = 1280  # a namespace with room for 16 hashes
MAX_CANDIDATES = 16  # signatures compared in one lookup
_MIN_CAPACITY = 16


@dataclass(frozen=True, slots=True)
class PerceptualCacheCounts:
    """Counts since the cache was created, and its current content."""

    stores: int
    evictions: int
    expirations: int
    rejected: int  # larger than the whole cache
    size_bytes: int
    entries: int


@dataclass(slots=True, eq=False)
class Entry:
    """An answer and the sketch of its picture; callers use only the outcome."""

    outcome: Outcome
    sketch: Sketch
    bucket: "_Bucket"
    index: int
    size_bytes: int
    expires_at: float


class PerceptualCache:
    """An LRU cache of at most `limit_bytes`; `clock` returns seconds that never decrease."""

    def __init__(self, limit_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        if limit_bytes <= 0:
            raise ValueError(f"limit_bytes: {limit_bytes} given, more than 0 is allowed")
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._buckets: dict[Hashable, _Bucket] = {}
        self._order: OrderedDict[Entry, None] = OrderedDict()
        self._size_bytes = 0
        self._stores = self._evictions = self._expirations = self._rejected = 0

    def find(
        self, namespace: Hashable, sketch: Sketch, bounds: Bounds
    ) -> tuple[Entry | None, bool]:
        """Return the most similar picture within the bounds.

        Without one, also return whether a hash matched whose signature did not.
        """
        bucket = self._buckets.get((namespace, sketch.shape))
        if bucket is None:
            return None, False
        near = self._drop_expired(bucket.nearest(sketch, bounds))
        if not near:
            return None, False
        signatures = np.stack([entry.sketch.signature for entry in near])
        best = find_most_similar(sketch.signature, signatures, bounds)
        if best is None:
            return None, True
        self._order.move_to_end(near[best])
        return near[best], False

    def put(self, namespace: Hashable, sketch: Sketch, outcome: Outcome, ttl_s: float) -> None:
        """Store the answer for `ttl_s` seconds."""
        outputs = {name: own_copy(array) for name, array in outcome.outputs.items()}
        signature = np.asarray(own_copy(sketch.signature), np.uint8)
        sketch = sketch._replace(signature=signature)
        size_bytes = ENTRY_BYTES + ARRAY_BYTES + sketch.signature.nbytes
        size_bytes += sum(map(count_bytes, outputs.values()))
        if BUCKET_BYTES + size_bytes > self._limit_bytes:
            self._rejected += 1
            return
        name = (namespace, sketch.shape)
        while self._size_bytes + size_bytes + BUCKET_BYTES > self._limit_bytes:
            self.remove(next(iter(self._order)))
            self._evictions += 1
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(name)
            self._size_bytes += BUCKET_BYTES
        kept = Outcome(outputs, outcome.confidence, outcome.exit)
        entry = Entry(kept, sketch, bucket, -1, size_bytes, self._clock() + ttl_s)
        bucket.add(entry)
        self._order[entry] = None
        self._size_bytes += size_bytes
        self._stores += 1

    def remove(self, entry: Entry) -> None:
        """Remove an answer, unless it is gone already."""
        if entry not in self._order:
            return
        del self._order[entry]
        self._size_bytes -= entry.size_bytes
        entry.bucket.remove(entry)
        if not entry.bucket.entries:
            del self._buckets[entry.bucket.name]
            self._size_bytes -= BUCKET_BYTES

    def clear(self) -> None:
        """Remove all answers."""
        self._buckets.clear()
        self._order.clear()
        self._size_bytes = 0

    def counts(self) -> PerceptualCacheCounts:
        return PerceptualCacheCounts(
            stores=self._stores,
            evictions=self._evictions,
            expirations=self._expirations,
            rejected=self._rejected,
            size_bytes=self._size_bytes,
            entries=len(self._order),
        )

    def check_invariants(self) -> None:
        """Assert that sizes add up, and that every answer is at its index and read-only."""
        total = sum(entry.size_bytes for entry in self._order)
        total += BUCKET_BYTES * len(self._buckets)
        assert total == self._size_bytes, f"{total} bytes kept, {self._size_bytes} counted"
        assert total <= self._limit_bytes, f"{total} bytes kept, {self._limit_bytes} allowed"
        on_shelves = [entry for bucket in self._buckets.values() for entry in bucket.entries]
        assert len(on_shelves) == len(self._order), "an answer is lost or stands twice"
        for name, bucket in self._buckets.items():
            bucket.check_invariants()
            assert bucket.name == name and bucket.entries, f"{name}: empty, or another's shelf"
        for entry in self._order:
            for array in (*entry.outcome.outputs.values(), entry.sketch.signature):
                assert not array.flags.writeable, "an array can be written"
                assert array.base is None, "an array pins another one"

    def _drop_expired(self, entries: list[Entry]) -> list[Entry]:
        now = self._clock()
        fresh = [entry for entry in entries if now < entry.expires_at]
        if len(fresh) < len(entries):
            for entry in entries:
                if now >= entry.expires_at:
                    self.remove(entry)
                    self._expirations += 1
        return fresh


class _Bucket:
    """The entries of one namespace and shape, with their hashes in one array."""

    __slots__ = ("_keys", "_levels", "_sures", "entries", "name")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.entries: list[Entry] = []
        self._keys: Hashes = np.zeros(_MIN_CAPACITY, np.uint64)
        self._sures: Hashes = np.zeros(_MIN_CAPACITY, np.uint64)
        self._levels: Floats = np.zeros(_MIN_CAPACITY, np.float32)

    def nearest(self, sketch: Sketch, bounds: Bounds) -> list[Entry]:
        """Return the entries whose hashes are within the bounds, only the nearest if many."""
        count = len(self.entries)
        apart = self._keys[:count] ^ sketch.key
        clashes = np.bitwise_count(apart & self._sures[:count] & sketch.sure)
        near = np.flatnonzero(clashes <= bounds.distance)
        if len(near) > 1:  # means differ by no more than the root of the mean square
            levels = np.abs(self._levels[near] - sketch.level)
            near = near[levels <= bounds.difference]
        if len(near) > MAX_CANDIDATES:
            order = np.argsort(np.bitwise_count(apart[near]), kind="stable")
            near = near[order[:MAX_CANDIDATES]]
        return [self.entries[place] for place in near]

    def add(self, entry: Entry) -> None:
        entry.index = len(self.entries)
        self.entries.append(entry)
        if entry.index == len(self._keys):
            self._reserve(2 * entry.index)
        self._write(entry)

    def remove(self, entry: Entry) -> None:
        """Remove an entry; the last entry takes its index."""
        last = self.entries.pop()
        if last is not entry:
            last.index = entry.index
            self.entries[last.index] = last
            self._write(last)
        room = len(self._keys)
        if room > _MIN_CAPACITY and len(self.entries) <= room // 4:
            self._reserve(room // 2)

    def check_invariants(self) -> None:
        assert len(self.entries) <= len(self._keys) <= max(_MIN_CAPACITY, 4 * len(self.entries))
        for place, entry in enumerate(self.entries):
            assert entry.index == place and entry.bucket is self, "an answer is out of its place"
            assert self._keys[place] == entry.sketch.key, "a hash is another picture's"
            assert self._sures[place] == entry.sketch.sure, "sure bits are another picture's"

    def _write(self, entry: Entry) -> None:
        self._keys[entry.index] = entry.sketch.key
        self._sures[entry.index] = entry.sketch.sure
        self._levels[entry.index] = entry.sketch.level

    def _reserve(self, room: int) -> None:
        self._keys = np.resize(self._keys, room)
        self._sures = np.resize(self._sures, room)
        self._levels = np.resize(self._levels, room)
