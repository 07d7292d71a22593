"""Cache eviction policies and bounds over a stream of keys, as plain as possible.

Every function answers one question: of these requests, how many are hits in a cache with room for
so many answers, if every miss is computed and offered to it. `s3_fifo` is what `cache/s3_fifo.py`
does; `ours` asks the real memory, whose own books take their part of the room.
"""

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cache.local_cache import ARRAY_BYTES, LocalCache
from cache.s3_fifo import ENTRY_BYTES
from core.messages import Outcome

Stream = npt.NDArray[np.int64]
Policy = Callable[[Stream, int], int]
ANSWER_BYTES = ENTRY_BYTES + ARRAY_BYTES + 8  # one label


def ours(keys: Stream, room: int) -> int:
    """`LocalCache` of as many bytes as `room` answers take."""
    memory = LocalCache(room * ANSWER_BYTES)
    label = np.zeros(1, np.int64)
    label.setflags(write=False)
    answer = Outcome({"label": label}, 0.5, "stage0")
    names = {key: key.to_bytes(16, "big") for key in np.unique(keys).tolist()}
    for key in keys.tolist():
        name = names[key]
        if memory.get(name) is None:
            memory.put(name, answer)
    return memory.counts().hits


def lru(keys: Stream, room: int) -> int:
    """Least recently used out first."""
    kept: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in keys.tolist():
        if key in kept:
            kept.move_to_end(key)
            hits += 1
            continue
        if len(kept) >= room:
            kept.popitem(last=False)
        kept[key] = None
    return hits


def sieve(keys: Stream, room: int) -> int:
    """Zhang et al., *SIEVE is Simpler than LRU*, NSDI 2024: a hand that moves from old to new and
    takes the first that was not asked for since it last came by.
    """
    newer: dict[int, int] = {}  # a ring through -1, which stands between newest and oldest
    older = {-1: -1}
    newer[-1] = -1
    asked: dict[int, bool] = {}
    hand, hits = -1, 0
    for key in keys.tolist():
        if key in asked:
            asked[key] = True
            hits += 1
            continue
        if len(asked) >= room:
            while hand == -1 or asked[hand]:
                if hand != -1:
                    asked[hand] = False
                hand = newer[hand]
            gone, hand = hand, newer[hand]
            newer[older[gone]], older[newer[gone]] = newer[gone], older[gone]
            del newer[gone], older[gone], asked[gone]
        newest = older[-1]
        newer[newest], older[key], newer[key], older[-1] = key, newest, -1, key
        asked[key] = False
    return hits


def s3_fifo(keys: Stream, room: int) -> int:
    """Yang et al., *FIFO Queues are All You Need for Cache Eviction*, SOSP 2023."""
    queues = _S3Fifo(room)
    return sum(map(queues.ask, keys.tolist()))


def tiny_lfu(keys: Stream, room: int) -> int:
    """Einziger, Friedman and Manes, *TinyLFU*, TOS 2017: what leaves a small LRU window enters the
    rest, a segmented LRU, only against one that was asked for less often of late. Counts are exact,
    which favours it over a sketch, and are halved after ten requests per answer kept.
    """
    memory = _TinyLfu(room)
    return sum(map(memory.ask, keys.tolist()))


def lfu(keys: Stream, room: int) -> int:
    """Least often asked for out first; it never forgets a count, and so is no policy to be had."""
    counts: defaultdict[int, int] = defaultdict(int)
    kept: dict[int, int] = {}
    queue: list[tuple[int, int, int]] = []  # as often asked, when, key; the count may have grown
    hits = 0
    for now, key in enumerate(keys.tolist()):
        counts[key] += 1
        if key in kept:
            hits += 1
            kept[key] = counts[key]
            continue
        if len(kept) >= room:
            while kept[queue[0][2]] > queue[0][0]:
                rival = queue[0][2]
                heapq.heapreplace(queue, (kept[rival], now, rival))
            if counts[key] < queue[0][0]:
                continue
            del kept[heapq.heappop(queue)[2]]
        kept[key] = counts[key]
        heapq.heappush(queue, (counts[key], now, key))
    return hits


def belady(keys: Stream, room: int) -> int:
    """The optimum with knowledge of the future: the key asked for last leaves, and a new key that
    is asked for later than all others is not kept at all.
    """
    never = 2 * len(keys)
    kept: dict[int, int] = {}
    queue: list[tuple[int, int]] = []  # minus the next use, key; outdated after every hit
    hits = 0
    for key, following in zip(keys.tolist(), _list_next_uses(keys, never), strict=True):
        hits += key in kept
        if following == never:
            kept.pop(key, None)  # its place is free at once
            continue
        kept[key] = following
        heapq.heappush(queue, (-following, key))
        while len(kept) > room:
            last, gone = heapq.heappop(queue)
            if kept.get(gone) == -last:
                del kept[gone]
    return hits


def blind(keys: Stream, room: int) -> int:
    """The optimum with knowledge of how popular each picture is, but not of what is asked next; for
    streams of independent requests whose keys are ranks, the most popular being 0.

    The next request is a hit with the summed popularity of what is kept, which is greatest when the
    most popular of all that were asked for are kept; and keeping those at every step is possible.
    """
    kept: set[int] = set()
    queue: list[int] = []
    hits = 0
    for key in keys.tolist():
        if key in kept:
            hits += 1
            continue
        kept.add(key)
        heapq.heappush(queue, -key)
        if len(kept) > room:
            kept.remove(-heapq.heappop(queue))
    return hits


def _list_next_uses(keys: Stream, never: int) -> list[int]:
    """For every request, when its key is asked for next."""
    order = np.argsort(keys, kind="stable")
    following = np.full(len(keys), never, np.int64)
    again = keys[order[1:]] == keys[order[:-1]]
    following[order[:-1][again]] = order[1:][again]
    return following.tolist()


class _S3Fifo:
    def __init__(self, room: int) -> None:
        self.room = room
        self.small: OrderedDict[int, int] = OrderedDict()
        self.main: OrderedDict[int, int] = OrderedDict()
        self.ghosts: OrderedDict[int, None] = OrderedDict()

    def ask(self, key: int) -> bool:
        queue = self.main if key in self.main else self.small
        if key in queue:
            queue[key] = min(queue[key] + 1, 3)
            return True
        while len(self.small) + len(self.main) >= self.room:
            self.evict()
        if key in self.ghosts:
            del self.ghosts[key]
            self.main[key] = 0
        else:
            self.small[key] = 0
        return False

    def evict(self) -> None:
        if len(self.small) > self.room // 10 or not self.main:
            key, hits = self.small.popitem(last=False)
            if hits:
                self.main[key] = 0
                return
            self.ghosts[key] = None
            if len(self.ghosts) > self.room:
                self.ghosts.popitem(last=False)
        else:
            key, hits = self.main.popitem(last=False)
            if hits:
                self.main[key] = hits - 1


class _TinyLfu:
    def __init__(self, room: int) -> None:
        self.window_room = max(1, room // 100)
        self.room = room - self.window_room
        self.proven_room = int(0.8 * self.room)
        self.age_after = 10 * room
        self.window: OrderedDict[int, None] = OrderedDict()
        self.trial: OrderedDict[int, None] = OrderedDict()
        self.proven: OrderedDict[int, None] = OrderedDict()
        self.counts: defaultdict[int, int] = defaultdict(int)
        self.counted = 0

    def ask(self, key: int) -> bool:
        self.count(key)
        if key in self.trial:
            del self.trial[key]
            self.proven[key] = None
            if len(self.proven) > self.proven_room:
                self.trial[self.proven.popitem(last=False)[0]] = None
            return True
        for queue in (self.window, self.proven):
            if key in queue:
                queue.move_to_end(key)
                return True
        self.window[key] = None
        if len(self.window) > self.window_room:
            self.admit(self.window.popitem(last=False)[0])
        return False

    def count(self, key: int) -> None:
        self.counts[key] = min(self.counts[key] + 1, 15)
        self.counted += 1
        if self.counted == self.age_after:
            self.counted //= 2
            for known in list(self.counts):
                self.counts[known] //= 2

    def admit(self, key: int) -> None:
        if len(self.trial) + len(self.proven) >= self.room:
            rivals = self.trial or self.proven
            rival = next(iter(rivals))
            if self.counts[key] <= self.counts[rival]:
                return
            del rivals[rival]
        self.trial[key] = None
