"""A queue of pictures that wait to be decoded, shared fairly between callers.

The next picture is the oldest one of the caller that has used least of the decoder's time, as
start-time fair queueing counts it. Seconds are those of the whole pool. Knows no threads and no
clock.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

_MAX_IDLE = 1024  # callers that are kept though none of their pictures waits


class QueuedItem(Protocol):
    """An item of the queue."""

    @property
    def caller(self) -> str: ...
    @property
    def share_s(self) -> float: ...
    @property
    def file_bytes(self) -> int: ...


Item = TypeVar("Item", bound=QueuedItem)


class _CallerQueue(Generic[Item]):
    """The waiting items of one caller."""

    __slots__ = ("items", "wait_s")

    def __init__(self) -> None:
        self.items: OrderedDict[Item, None] = OrderedDict()
        self.wait_s = 0.0


class DecodeQueue(Generic[Item]):
    """First in, first out for each caller; fair between callers."""

    def __init__(self) -> None:
        self._caller_queues: dict[str, _CallerQueue[Item]] = {}
        self._used_s: dict[str, float] = {}
        self._now_s = 0.0  # used time of the caller whose picture was taken last
        self.wait_s = 0.0
        self.file_bytes = 0

    def push(self, item: Item) -> None:
        caller = item.caller
        line = self._caller_queues.get(caller)
        if line is None:
            self._forget()
            line = self._caller_queues[caller] = _CallerQueue()
            self._used_s[caller] = max(self._used_s.get(caller, 0.0), self._now_s)
        line.items[item] = None
        line.wait_s += item.share_s
        self.wait_s += item.share_s
        self.file_bytes += item.file_bytes

    def first(self) -> Item | None:
        """Return the next item; it stays in the queue until it is removed or taken."""
        if not self._caller_queues:
            return None
        caller = min(self._caller_queues, key=self._used_s.__getitem__)
        return next(iter(self._caller_queues[caller].items))

    def take(self, item: Item) -> None:
        """Take an item to begin it; its caller is charged."""
        self._now_s = self._used_s[item.caller]
        self._used_s[item.caller] += item.share_s
        self.remove(item)

    def remove(self, item: Item) -> None:
        """Remove an item; does nothing if it does not wait any more."""
        line = self._caller_queues.get(item.caller)
        if line is None or item not in line.items:
            return
        del line.items[item]
        line.wait_s -= item.share_s
        self.wait_s -= item.share_s
        self.file_bytes -= item.file_bytes
        if not line.items:
            del self._caller_queues[item.caller]
        if not self._caller_queues:
            self.wait_s = 0.0  # drops rounding errors

    def predict_s(self, caller: str, more_s: float) -> float:
        """Return how long this caller's new work would wait: behind the caller's own, and behind no
        more of another caller's than that.
        """
        own = self._caller_queues.get(caller)
        own_s = more_s + (own.wait_s if own is not None else 0.0)
        others_s = sum(
            min(line.wait_s, own_s) for name, line in self._caller_queues.items() if name != caller
        )
        return own_s - more_s + others_s

    def newest_of_busiest_caller(self, caller: str, more_s: float) -> Item | None:
        """Return the newest item of the caller with most waiting work, if that is more than this
        one would have.
        """
        if not self._caller_queues:
            return None
        own = self._caller_queues.get(caller)
        own_s = more_s + (own.wait_s if own is not None else 0.0)
        largest = max(self._caller_queues.values(), key=lambda line: line.wait_s)
        if largest is own or largest.wait_s <= own_s:
            return None
        return next(reversed(largest.items))

    def __iter__(self) -> Iterator[Item]:
        for line in self._caller_queues.values():
            yield from line.items

    def _forget(self) -> None:
        """Forget callers that have used no more than a new caller is assumed to have."""
        if len(self._used_s) >= _MAX_IDLE + len(self._caller_queues):
            self._used_s = {
                name: used_s
                for name, used_s in self._used_s.items()
                if name in self._caller_queues or used_s > self._now_s
            }
