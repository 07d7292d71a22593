"""Lanes: a lane is the queue of one stage of one version of a route.

The scheduler decides which lane gets the device. What waits are blocks of rows
(`serving.scheduling.rows.blocks`), in a queue for each caller (`serving.scheduling.queues`).
"""

import heapq
import weakref
from collections.abc import Sequence

from core.messages import Stage
from monitoring.metrics.counts import RouteMetrics
from serving.scheduling.batch_times import WEIGHT, BatchTimes, UnitCost
from serving.scheduling.fair_shares import SLACK_S, TAGS_A_SECOND, Charge, Claim, Share
from serving.scheduling.queues import Queue
from serving.scheduling.rows.blocks import Block

MAX_COMPARED = 256  # queues of one turn: many callers must not make a turn expensive


class Lanes(dict[str, "Lane"]):
    """All lanes of one version of a route, by stage name. A lane refers to them weakly: without a
    cycle, a replaced route's models are freed with its last row, not at the next garbage
    collection.
    """

    __slots__ = ("__weakref__",)


class Lane:
    """Rows waiting for one stage; each caller's rows in the order in which they are due."""

    __slots__ = (
        "_lanes", "_order", "_row_s", "cache_ttl_s", "charges", "claim", "costs_vary", "device",
        "first_s", "is_first", "is_last", "looked_up", "max_batch", "mean_share", "metrics",
        "queues",
        "reserving", "route", "row_cost", "rows", "stage", "times",
    )  # fmt: skip

    def __init__(
        self,
        stage: Stage,
        *,
        max_batch: int,
        is_first: bool,
        is_last: bool,
        lanes: Lanes,
        metrics: RouteMetrics,
        cache_ttl_s: float | None,
        row_cost: UnitCost,
        route: str = "",
        device: str = "",
    ) -> None:
        self.stage = stage
        self.route = route
        self.device = device  # the name of the one that runs it; empty: the first
        self.row_cost = row_cost  # device time of a row over all stages of the route
        self.cache_ttl_s = cache_ttl_s  # seconds that a final answer is kept; None: not stored
        self.max_batch = max_batch
        self.metrics = metrics
        self.is_first = is_first
        self.is_last = is_last  # the route's last declared stage
        self._lanes = weakref.ref(lanes)
        self.costs_vary = False  # rows may have different budgets, which decide their cost
        self.mean_share = 1.0  # of the recent rows' cost, relative to that at the default budget
        self.times = BatchTimes()  # of rows like the recent ones
        # Where rows wait for memory for their states before they enter; None: they need none.
        self.reserving: Lane | None = None
        self.looked_up = 0  # rows that will come here unless another cache holds them
        self.rows = 0  # waiting and still needed
        self.queues: dict[Share, Queue] = {}  # by share, those with rows here
        self.charges: Sequence[Charge] = ()  # of the newest batch
        self.claim = Claim(Share(route, Share()))  # for rows without a caller
        self._order = 0
        self._row_s = 0.0
        self.first_s = 0.0  # predicted seconds of a row alone, as of the newest batch

    @property
    def lanes(self) -> Lanes:
        """Return all lanes of the route; none once its catalog entry and rows are gone."""
        return self._lanes() or Lanes()

    def reserve_before(self) -> "Lane":
        """Make the lane in which rows wait for memory before they enter this one."""
        self.reserving = Lane(
            self.stage,
            max_batch=self.max_batch,
            is_first=self.is_first,
            is_last=self.is_last,
            lanes=self.lanes,
            metrics=self.metrics,
            cache_ttl_s=self.cache_ttl_s,
            row_cost=self.row_cost,
            route=self.route,
            device=self.device,
        )
        self.reserving.times = self.times
        return self.reserving

    @property
    def row_s(self) -> float:
        """Return the predicted seconds of a row in a full batch."""
        return self.times.predict_s(self.max_batch) / self.max_batch

    def observe(self, rows: int, seconds: float, cost_share: float) -> None:
        """Learn from a batch; `cost_share` is that of its rows."""
        self.times.observe(rows, seconds)
        self.mean_share += WEIGHT * (cost_share - self.mean_share)

    def queue_of(self, share: Share) -> Queue | None:
        """Return the rows of a share that wait here; None if there are none."""
        return self.queues.get(share)

    def push(self, block: Block, now: float) -> None:
        """Put a block into the lane, with the next start in its caller's share."""
        claim, rows = block.claim, len(block)
        block.lane = self
        block.queued = True
        block.queued_at = now
        row_s = self._row_s or self.row_s
        block.start_s = claim.start(row_s * rows / claim.calls)
        block.row_s = row_s if claim.calls == 1 else 0.0  # requests of a group start together
        start = block.start = int(block.start_s * TAGS_A_SECOND)
        order = block.order = self._order = self._order + 1
        self.rows += rows
        queue = self.queues.get(claim.share) or self._open(claim.share)
        queue.rows += rows
        heapq.heappush(queue.heap, (start, block.due, order, block))
        if block.joined_claims:
            joined_claims, block.joined_claims = block.joined_claims, {}
            for joined in joined_claims.values():
                self._join_queue(block, joined, block.due)

    def forget(self, block: Block) -> None:
        """Remove a waiting block that no caller needs any more; its queue skips it later."""
        self._leave(block, len(block))
        block.queued = False
        for share in block.shares():
            if (queue := self.queues.get(share)) is not None:
                queue.compact()

    def carve(self, block: Block, places: Sequence[int]) -> Block:
        """Make these rows of a waiting block a block of their own, which waits at the same place.
        Return the block itself if it has no other rows.
        """
        if len(places) == len(block):
            return block
        part = block.split(places)
        part.queued = True
        self._order += 1
        part.order = self._order
        self.queues[block.claim.share].push(part, part.start, part.due, part.order)
        joined, part.joined_claims = part.joined_claims, {}
        for claim in joined.values():
            self._order += 1
            part.joined_claims = {**part.joined_claims, self._order: claim}
            self.queues[claim.share].push(part, claim.peek_start(), part.due, self._order)
        return part

    def join(self, block: Block, due: float, claim: Claim) -> None:
        """Let another call join all rows of a block of this lane or of a later one: they wait no
        longer than rows of that call's own would.
        """
        self.advance(block, due)
        if claim.share is block.claim.share:
            if block.queued and (start := claim.peek_start()) < block.start:
                block.start, block.start_s = start, start * SLACK_S
                self._move(block)
        elif block.queued and all(
            joined.share is not claim.share for joined in block.joined_claims.values()
        ):
            self._join_queue(block, claim, due)

    def advance(self, block: Block, due: float) -> None:
        """Move a block forward, in this queue if it waits here and in later ones; its old position
        in the heap is skipped later.
        """
        if due < block.due:
            block.due = due
            if block.queued:
                self._move(block)

    def put_first(self, block: Block, start_s: float) -> None:
        """Let a waiting block start at `start_s` if that is before its own start."""
        if start_s < block.start_s:
            block.start_s, block.start = start_s, int(start_s * TAGS_A_SECOND)
            self._move(block)

    def take(
        self, first: Queue | None = None, *, one_call: bool = False, most: int = 0
    ) -> list[Block]:
        """Take the next batch out of the lane: rows of the first queue, then of those that have
        spent least. With `one_call`, only rows of the first row's call. `charges` lists who pays.
        `most` 0: `max_batch` rows.
        """
        taken: list[Block] = []
        left = most or self.max_batch
        self.charges = []
        self._row_s, self.first_s = self.row_s, self.times.predict_s(1)  # until the next batch
        for queue in self._order_queues(first):
            start_s = queue.start_s()
            parts = queue.take(taken, left, one_call=one_call)
            rows = sum([part[1] for part in parts])
            if rows:
                left -= rows
                self.charges.append(Charge(queue.share, rows, start_s))
                self._leave_all(queue, parts)
            if left == 0 or one_call:
                break
        return taken

    def drop(self, queue: Queue) -> None:
        """Remove a queue that gives no rows, which should never happen."""
        self.rows -= queue.rows
        self._close(queue.share)

    def _order_queues(self, first: Queue | None) -> list[Queue]:
        queues = list(self.queues.values())
        if len(queues) == 1:
            return queues
        if self.rows <= self.max_batch or len(queues) > MAX_COMPARED:
            return (
                queues if first is None else [first, *[one for one in queues if one is not first]]
            )
        queues.sort(key=lambda queue: (queue is not first, queue.share.rank(), queue.due()))
        return queues

    def _open(self, share: Share) -> Queue:
        queue = self.queues.get(share)
        if queue is None:
            queue = self.queues[share] = Queue(self, share)
            share.wait()
        return queue

    def _move(self, block: Block) -> None:
        """Give the block a better position in its own queue."""
        self._order += 1
        block.order = self._order
        queue = self.queues[block.claim.share]
        queue.push(block, block.start, block.due, self._order)
        queue.compact()

    def _join_queue(self, block: Block, claim: Claim, due: float) -> None:
        """Let the block wait in another caller's queue, too."""
        self._order += 1
        block.joined_claims = {**block.joined_claims, self._order: claim}
        if block.queued:
            self._open(claim.share).add(block, claim.peek_start(), due, self._order)

    def _leave_all(self, queue: Queue, parts: Sequence[tuple[Block, int]]) -> None:
        """Count rows that were taken out of this queue."""
        rows = 0
        for block, part_rows in parts:
            if block.joined_claims:
                self._leave(block, part_rows)
            else:
                rows += part_rows
        self.rows -= rows
        queue.rows -= rows
        if rows and not queue.rows:
            self._close(queue.share)

    def _close(self, share: Share) -> None:
        del self.queues[share]
        share.rest()

    def _leave(self, block: Block, rows: int) -> None:
        """Remove rows of the block from every queue."""
        self.rows -= rows
        for share in block.shares():
            queue = self.queues[share]
            queue.rows -= rows
            if not queue.rows:
                self._close(share)
