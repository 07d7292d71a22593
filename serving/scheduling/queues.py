"""The queue of one caller's route in a lane."""

import heapq
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from serving.scheduling.fair_shares import SLACK_S, TAGS_A_SECOND, Share
from serving.scheduling.rows.blocks import Block

if TYPE_CHECKING:
    from serving.scheduling.lanes import Lane

_SMALL_HEAP = 64

Entry = tuple[int, float, int, Block]


class Queue:
    """The blocks of one caller's route in a lane, ordered by start, then by when they are due."""

    __slots__ = ("heap", "lane", "rows", "share")

    def __init__(self, lane: "Lane", share: Share) -> None:
        self.lane = lane
        self.share = share
        self.rows = 0  # the heap may also hold blocks that no longer wait
        self.heap: list[Entry] = []

    def add(self, block: Block, start: int, due: float, order: int) -> None:
        """Add a block that was not in the queue."""
        self.rows += len(block)
        heapq.heappush(self.heap, (start, due, order, block))

    def push(self, block: Block, start: int, due: float, order: int) -> None:
        """Give a block of this queue a better position."""
        heapq.heappush(self.heap, (start, due, order, block))

    def entry(self) -> Entry | None:
        """Return the first waiting block with its position."""
        heap = self.heap
        while heap:
            entry = heap[0]
            if self._waits(entry):
                return entry
            heapq.heappop(heap)
        return None

    def oldest(self) -> Block | None:
        """Return the waiting block of this share that arrived first."""
        blocks = [entry[3] for entry in self.heap if self._waits(entry)]
        own = [block for block in blocks if block.claim.share is self.share]
        return min(own, key=lambda block: block.arrived, default=None)

    def head(self) -> tuple[Block, int]:
        """Return the first waiting block, and how many of its rows come before the next block."""
        entry = self.entry()
        assert entry is not None, "a queue without rows is closed"
        rows = len(entry[3])
        return entry[3], self._rows_before_next(entry) if rows > 1 and len(self.heap) > 1 else rows

    def start_s(self) -> float:
        """Return the start of the first waiting row in seconds, 0 if none waits."""
        entry = self.entry()
        return 0.0 if entry is None else entry[0] * SLACK_S

    def due(self) -> tuple[float, float]:
        """Return when the first row is due and when it arrived."""
        entry = self.entry()
        return (math.inf, math.inf) if entry is None else (entry[1], entry[3].arrived)

    def take(self, taken: list[Block], most: int, *, one_call: bool) -> list[tuple[Block, int]]:
        """Move blocks, or parts of them, with up to `most` rows into the batch. Return them with
        their rows, for the lane to count.
        """
        heap = self.heap
        parts: list[tuple[Block, int]] = []
        while heap and most:
            entry = heap[0]
            if not self._waits(entry):
                heapq.heappop(heap)
                continue
            block = entry[3]
            if one_call and taken and block.owner is not taken[0].owner:
                break
            rows = min(len(block), most)
            if rows > 1 and len(heap) > 1:
                rows = min(rows, self._rows_before_next(entry))
            most -= rows
            if rows == len(block):
                heapq.heappop(heap)
                block.queued = False
                taken.append(block)
                parts.append((block, rows))
                continue
            part = block.split_head(rows)
            taken.append(part)
            parts.append((part, rows))
            block.start_s += rows * block.row_s
            start = max(entry[0], int(block.start_s * TAGS_A_SECOND))
            if block.order == entry[2]:
                block.start = start
            heapq.heapreplace(heap, (start, entry[1], entry[2], block))
        return parts

    def rows_before(self, due: float) -> int:
        """Return about how many rows are due earlier."""
        return self._count(lambda entry: len(entry[3]) if entry[1] <= due else 0)

    def rows_ahead(self, start: int, due: float) -> int:
        """Return about how many rows come before a new one with this position."""
        return self._count(
            lambda entry: _count_started(entry, start) if entry[:2] <= (start, due) else 0
        )

    def compact(self) -> None:
        """Drop entries that the heap would skip, once they outnumber the waiting rows."""
        if len(self.heap) > 2 * self.rows + _SMALL_HEAP:
            self.heap = [entry for entry in self.heap if self._waits(entry)]
            heapq.heapify(self.heap)

    def _rows_before_next(self, entry: Entry) -> int:
        """Return how many rows of the first block start no later than the next entry."""
        return max(1, _count_started(entry, min(self.heap[1:3])[0]))

    def _count(self, count: Callable[[Entry], int]) -> int:
        """Count exactly up to 64 waiting blocks, beyond that from a sample."""
        heap: Sequence[Entry] = self.heap
        if not heap or self.rows == 0:
            return 0
        stride = 1 + len(heap) // 64
        sample = heap[::stride]
        all_rows = sum([len(entry[3]) for entry in sample])
        earlier = sum([count(entry) for entry in sample])
        return min(self.rows, earlier * self.rows // all_rows)

    def _waits(self, entry: Entry) -> bool:
        block, order = entry[3], entry[2]
        return (
            block.queued
            and block.lane is self.lane
            and (block.order == order or order in block.joined_claims)
        )


def _count_started(entry: Entry, start: int) -> int:
    """Return how many rows of an entry's block start no later than `start`."""
    block = entry[3]
    if block.row_s <= 0.0:
        return len(block)
    left_s = (start + 1) * SLACK_S - max(block.start_s, entry[0] * SLACK_S)
    return min(len(block), max(0, math.ceil(left_s / block.row_s)))
