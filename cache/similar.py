"""The perceptual cache: answers of pictures, searched by likeness instead of equality.

A look-up compares hashes with all pictures of its namespace, takes the few nearest, and gives an
answer only where the signature agrees too. Bounded in bytes, each answer with a time to live, least
recently used out first; used from the event loop only. Whether an answer may be used, and what is
worth keeping, is left to its owner: here nothing is known of routes, confidence or audits.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from cache.local import ARRAY_BYTES, count_bytes, own
from cache.perceptual import Bounds, Floats, Hashes, Sketch, find_alike
from core.messages import Outcome

# Entry, its place in the order and on its shelf, outcome and sketch; measured with tracemalloc.
ENTRY_BYTES = 960
SHELF_BYTES = 1280  # a namespace with room for 16 hashes
MOST_CANDIDATES = 16  # whose signatures are compared in one look-up
_LEAST_ROOM = 16


@dataclass(frozen=True, slots=True)
class SimilarCounts:
    """What a cache has done since it was made, and what it holds now."""

    stores: int
    evictions: int
    expirations: int
    rejected: int  # larger than the whole cache
    size_bytes: int
    entries: int


@dataclass(slots=True, eq=False)
class Entry:
    """One answer and the picture it was given for; opaque to callers but for the outcome."""

    outcome: Outcome
    sketch: Sketch
    shelf: "_Shelf"
    place: int
    size_bytes: int
    expires_at: float


class SimilarMemory:
    """Least recently used, at most `limit_bytes`; `clock` gives seconds that never go back."""

    def __init__(self, limit_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        if limit_bytes <= 0:
            raise ValueError(f"limit_bytes: {limit_bytes} given, more than 0 is allowed")
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._shelves: dict[Hashable, _Shelf] = {}
        self._order: OrderedDict[Entry, None] = OrderedDict()
        self._size_bytes = 0
        self._stores = self._evictions = self._expirations = self._rejected = 0

    def find(
        self, namespace: Hashable, sketch: Sketch, bounds: Bounds
    ) -> tuple[Entry | None, bool]:
        """The most alike picture within the bounds; and, without one, whether there were some whose
        hashes agreed and whose signatures did not.
        """
        shelf = self._shelves.get((namespace, sketch.shape))
        if shelf is None:
            return None, False
        near = self._drop_old(shelf.nearest(sketch, bounds))
        if not near:
            return None, False
        signatures = np.stack([entry.sketch.signature for entry in near])
        best = find_alike(sketch.signature, signatures, bounds)
        if best is None:
            return None, True
        self._order.move_to_end(near[best])
        return near[best], False

    def put(self, namespace: Hashable, sketch: Sketch, outcome: Outcome, ttl_s: float) -> None:
        """Keep the answer for `ttl_s`."""
        outputs = {name: own(array) for name, array in outcome.outputs.items()}
        signature = np.asarray(own(sketch.signature), np.uint8)
        sketch = sketch._replace(signature=signature)
        size_bytes = ENTRY_BYTES + ARRAY_BYTES + sketch.signature.nbytes
        size_bytes += sum(map(count_bytes, outputs.values()))
        if SHELF_BYTES + size_bytes > self._limit_bytes:
            self._rejected += 1
            return
        name = (namespace, sketch.shape)
        while self._size_bytes + size_bytes + SHELF_BYTES > self._limit_bytes:
            self.forget(next(iter(self._order)))
            self._evictions += 1
        shelf = self._shelves.get(name)
        if shelf is None:
            shelf = self._shelves[name] = _Shelf(name)
            self._size_bytes += SHELF_BYTES
        kept = Outcome(outputs, outcome.confidence, outcome.exit)
        entry = Entry(kept, sketch, shelf, -1, size_bytes, self._clock() + ttl_s)
        shelf.add(entry)
        self._order[entry] = None
        self._size_bytes += size_bytes
        self._stores += 1

    def forget(self, entry: Entry) -> None:
        """Drop an answer; one that has gone already is no matter."""
        if entry not in self._order:
            return
        del self._order[entry]
        self._size_bytes -= entry.size_bytes
        entry.shelf.remove(entry)
        if not entry.shelf.entries:
            del self._shelves[entry.shelf.name]
            self._size_bytes -= SHELF_BYTES

    def clear(self) -> None:
        """Drop everything."""
        self._shelves.clear()
        self._order.clear()
        self._size_bytes = 0

    def counts(self) -> SimilarCounts:
        return SimilarCounts(
            stores=self._stores,
            evictions=self._evictions,
            expirations=self._expirations,
            rejected=self._rejected,
            size_bytes=self._size_bytes,
            entries=len(self._order),
        )

    def check(self) -> None:
        """Assert that the books balance and every answer stands in its place, read-only."""
        total = sum(entry.size_bytes for entry in self._order)
        total += SHELF_BYTES * len(self._shelves)
        assert total == self._size_bytes, f"{total} bytes kept, {self._size_bytes} counted"
        assert total <= self._limit_bytes, f"{total} bytes kept, {self._limit_bytes} allowed"
        on_shelves = [entry for shelf in self._shelves.values() for entry in shelf.entries]
        assert len(on_shelves) == len(self._order), "an answer is lost or stands twice"
        for name, shelf in self._shelves.items():
            shelf.check()
            assert shelf.name == name and shelf.entries, f"{name}: empty, or another's shelf"
        for entry in self._order:
            for array in (*entry.outcome.outputs.values(), entry.sketch.signature):
                assert not array.flags.writeable, "an array can be written"
                assert array.base is None, "an array pins another one"

    def _drop_old(self, entries: list[Entry]) -> list[Entry]:
        now = self._clock()
        fresh = [entry for entry in entries if now < entry.expires_at]
        if len(fresh) < len(entries):
            for entry in entries:
                if now >= entry.expires_at:
                    self.forget(entry)
                    self._expirations += 1
        return fresh


class _Shelf:
    """The entries of one namespace and shape, their hashes side by side."""

    __slots__ = ("_keys", "_levels", "_sures", "entries", "name")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.entries: list[Entry] = []
        self._keys: Hashes = np.zeros(_LEAST_ROOM, np.uint64)
        self._sures: Hashes = np.zeros(_LEAST_ROOM, np.uint64)
        self._levels: Floats = np.zeros(_LEAST_ROOM, np.float32)

    def nearest(self, sketch: Sketch, bounds: Bounds) -> list[Entry]:
        """Entries whose hashes are within the bounds; the nearest, if they are many."""
        count = len(self.entries)
        apart = self._keys[:count] ^ sketch.key
        clashes = np.bitwise_count(apart & self._sures[:count] & sketch.sure)
        near = np.flatnonzero(clashes <= bounds.distance)
        if len(near) > 1:  # means differ by no more than the root of the mean square
            levels = np.abs(self._levels[near] - sketch.level)
            near = near[levels <= bounds.difference]
        if len(near) > MOST_CANDIDATES:
            order = np.argsort(np.bitwise_count(apart[near]), kind="stable")
            near = near[order[:MOST_CANDIDATES]]
        return [self.entries[place] for place in near]

    def add(self, entry: Entry) -> None:
        entry.place = len(self.entries)
        self.entries.append(entry)
        if entry.place == len(self._keys):
            self._resize(2 * entry.place)
        self._write(entry)

    def remove(self, entry: Entry) -> None:
        """The last one takes the place."""
        last = self.entries.pop()
        if last is not entry:
            last.place = entry.place
            self.entries[last.place] = last
            self._write(last)
        room = len(self._keys)
        if room > _LEAST_ROOM and len(self.entries) <= room // 4:
            self._resize(room // 2)

    def check(self) -> None:
        assert len(self.entries) <= len(self._keys) <= max(_LEAST_ROOM, 4 * len(self.entries))
        for place, entry in enumerate(self.entries):
            assert entry.place == place and entry.shelf is self, "an answer is out of its place"
            assert self._keys[place] == entry.sketch.key, "a hash is another picture's"
            assert self._sures[place] == entry.sketch.sure, "sure bits are another picture's"

    def _write(self, entry: Entry) -> None:
        self._keys[entry.place] = entry.sketch.key
        self._sures[entry.place] = entry.sketch.sure
        self._levels[entry.place] = entry.sketch.level

    def _resize(self, room: int) -> None:
        self._keys = np.resize(self._keys, room)
        self._sures = np.resize(self._sures, room)
        self._levels = np.resize(self._levels, room)
