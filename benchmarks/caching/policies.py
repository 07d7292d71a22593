"""Cache eviction policies and bounds over a stream of keys, as plain as possible.

Every function answers one question: of these requests, how many are hits in a cache with room for
so many answers, if every miss is computed and offered to it. `s3_fifo` is what `cache/s3_fifo.py`
does; `ours` asks the real memory, whose own books take their part of the room.
"""

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from cache.ghost_queue import SLOT_BYTES
from cache.local_cache import LocalCache
from cache.packing import count_kept_bytes, pack
from cache.s3_fifo import ENTRY_BYTES
from core.columns import stack_outcomes
from core.messages import Outcome

Stream = npt.NDArray[np.int64]
Policy = Callable[[Stream, int], int]
Queue = OrderedDict[int, None]

ANSWER = Outcome({"label": np.zeros(1, np.int64)}, 0.5, "stage0")


def find_limit_bytes(room: int) -> int:
    """Return the limit of a `LocalCache` that holds `room` answers like `ANSWER`, and no more."""
    (kept,) = pack(stack_outcomes([ANSWER]))
    answers_bytes = room * (ENTRY_BYTES + count_kept_bytes(kept))
    limit_bytes = answers_bytes
    while limit_bytes - SLOT_BYTES * (limit_bytes // ENTRY_BYTES + 1) < answers_bytes:
        limit_bytes += SLOT_BYTES  # the cache's own bytes grow with its limit
    return limit_bytes


def ours(keys: Stream, room: int) -> int:
    """`LocalCache` of as many bytes as `room` answers take."""
    memory = LocalCache(find_limit_bytes(room))
    names = {key: key.to_bytes(16, "big") for key in np.unique(keys).tolist()}
    for key in keys.tolist():
        name = names[key]
        if memory.get(name) is None:
            memory.put(name, ANSWER)
    return memory.counts().hits


def lru(keys: Stream, room: int) -> int:
    """Least recently used out first."""
    kept = Queue()
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
    ahead, passed = OrderedDict[int, bool](), OrderedDict[int, bool]()  # of the hand; was it asked?
    hits = 0
    for key in keys.tolist():
        queue = ahead if key in ahead else passed
        if key in queue:
            queue[key] = True
            hits += 1
            continue
        while len(ahead) + len(passed) >= room:
            old, asked = ahead.popitem(last=False)
            if asked:
                passed[old] = False
            if not ahead:
                ahead, passed = passed, ahead
        ahead[key] = False
    return hits


def s3_fifo(keys: Stream, room: int) -> int:
    """Yang et al., *FIFO Queues are All You Need for Cache Eviction*, SOSP 2023."""
    small, main = OrderedDict[int, int](), OrderedDict[int, int]()  # how often each was asked for
    ghosts = Queue()
    hits = 0
    for key in keys.tolist():
        queue = main if key in main else small
        if key in queue:
            queue[key] = min(queue[key] + 1, 3)
            hits += 1
            continue
        while len(small) + len(main) >= room:
            from_small = len(small) > room // 10 or not main
            old, asked = (small if from_small else main).popitem(last=False)
            if asked:
                main[old] = 0 if from_small else asked - 1
            elif from_small:
                ghosts[old] = None
                if len(ghosts) > room:
                    ghosts.popitem(last=False)
        (main if key in ghosts else small)[key] = 0
        ghosts.pop(key, None)
    return hits


def tiny_lfu(keys: Stream, room: int) -> int:
    """Einziger, Friedman and Manes, *TinyLFU*, TOS 2017: what leaves a small LRU window enters the
    rest, a segmented LRU, only against one that was asked for less often of late. Counts are exact,
    which favours it over a sketch, and are halved after ten requests per answer kept.
    """
    window_room = max(1, room // 100)
    window, trial, proven = Queue(), Queue(), Queue()
    counts, counted, hits = defaultdict[int, int](int), 0, 0
    for key in keys.tolist():
        counts[key] = min(counts[key] + 1, 15)
        counted += 1
        if counted == 10 * room:
            counted //= 2
            counts = defaultdict(int, {known: count // 2 for known, count in counts.items()})
        hits += key in window or key in trial or key in proven
        if key in trial:
            del trial[key]
            proven[key] = None
            if len(proven) > int(0.8 * (room - window_room)):
                trial[proven.popitem(last=False)[0]] = None
        elif key in proven:
            proven.move_to_end(key)
        else:
            window[key] = None
            window.move_to_end(key)
            if len(window) > window_room:
                _admit(window.popitem(last=False)[0], counts, trial, proven, room - window_room)
    return hits


def _admit(key: int, counts: Mapping[int, int], trial: Queue, proven: Queue, room: int) -> None:
    if len(trial) + len(proven) >= room:
        rivals = trial or proven
        rival = next(iter(rivals))
        if counts[key] <= counts[rival]:
            return
        del rivals[rival]
    trial[key] = None


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
