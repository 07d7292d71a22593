"""Lanes and flights. A lane is the queue of one stage of one route version; a flight is one row on
its way through lanes.

Identical rows share one flight, while each call that waits for it (`Waiter`) keeps its own
deadline, early answer and cancellation. The scheduler decides which lane gets the device.
"""

import heapq
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from core.messages import Array, Key, Outcome, Stage, StateHandle
from monitoring.metrics.counts import RouteMetrics
from serving.scheduling.batch_times import BatchTimes, UnitCost
from serving.scheduling.fair_shares import SLACK_S, Charge, Claim, Share
from serving.scheduling.interfaces import Probe, Waiter

_SMALL_HEAP = 64
MAX_COMPARED = 256  # queues of one turn: many callers must not make a turn expensive
NO_JOINED_CLAIMS: Mapping[int, Claim] = MappingProxyType({})


class Flight:
    """One row being computed: its lane, its results so far, and the calls that wait for it."""

    __slots__ = (
        "answer", "arrived", "claim", "controls", "device_s", "done", "due", "inputs",
        "joined_claims", "key", "lane", "lanes", "macs", "order", "probe", "queued", "queued_at",
        "running", "spent_macs", "start", "state", "state_bytes", "steps", "told_s", "waiters",
    )  # fmt: skip

    def __init__(
        self,
        lane: "Lane",
        inputs: Mapping[str, Array],
        controls: Mapping[str, float],
        key: Key | None,
        due: float,
        now: float,
        claim: Claim | None = None,  # None: the lane's own
    ) -> None:
        self.claim = claim or lane.claim  # of the call that pays
        # calls of other callers that joined, by order
        self.joined_claims: Mapping[int, Claim] = NO_JOINED_CLAIMS
        self.start = 0  # its position in its caller's queue
        self.order = 0
        self.lane = lane
        self.lanes = lane.lanes  # a replaced route's lanes live as long as its rows
        self.inputs = inputs
        self.controls = controls
        self.key = key
        self.probe: Probe | None = None  # for the perceptual cache, which stores the answer
        self.due = due
        self.arrived = now
        self.queued_at = now
        self.queued = False
        self.waiters: dict[tuple[Waiter, int], None] = {}  # in order; removed in constant time
        self.answer: Outcome | None = None
        self.state: StateHandle | None = None
        self.state_bytes = 0  # as counted when the state was taken over
        self.macs = 0  # not yet reported in an answer
        self.spent_macs = 0
        self.device_s = 0.0  # CPU time on the device
        self.told_s = 0.0  # device seconds already reported
        self.steps = 0  # moves to a next stage so far
        self.running = False
        self.done = False

    @property
    def is_audit(self) -> bool:
        """Whether its answer is needed even if no client waits for it any more."""
        return self.probe is not None and self.probe.audited is not None

    def shares(self) -> Sequence[Share]:
        """Return the shares of all callers in whose queues it waits."""
        if not self.joined_claims:
            return (self.claim.share,)
        return (self.claim.share, *[embedded.share for embedded in self.joined_claims.values()])

    def shares_call_with(self, other: "Flight") -> bool:
        """Return whether the same call waits for both."""
        mine, theirs = next(iter(self.waiters), None), next(iter(other.waiters), None)
        return mine is not None and theirs is not None and mine[0] is theirs[0]


class Lanes(dict[str, "Lane"]):
    """All lanes of one version of a route, by stage name. A lane refers to them weakly: without a
    cycle, a replaced route's models are freed with its last row, not at the next garbage
    collection.
    """

    __slots__ = ("__weakref__",)


class Lane:
    """Rows waiting for one stage; each caller's rows in the order in which they are due."""

    __slots__ = (
        "_lanes", "_order", "_row_s", "cache_ttl_s", "charges", "claim", "is_first", "is_last",
        "looked_up", "max_batch", "metrics", "queues", "route", "row_cost", "rows", "stage",
        "times",
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
    ) -> None:
        self.stage = stage
        self.route = route
        self.row_cost = row_cost  # device time of a row over all stages of the route
        self.cache_ttl_s = cache_ttl_s  # seconds that a final answer is kept; None: not stored
        self.max_batch = max_batch
        self.metrics = metrics
        self.is_first = is_first
        self.is_last = is_last  # the route's last declared stage
        self._lanes = weakref.ref(lanes)
        self.times = BatchTimes()
        self.looked_up = 0  # rows that will come here unless another cache holds them
        self.rows = 0  # waiting and still needed
        self.queues: dict[Share, Queue] = {}  # by share, those with rows here
        self.charges: Sequence[Charge] = ()  # of the newest batch
        self.claim = Claim(Share(route, Share()))  # for rows without a caller
        self._order = 0
        self._row_s = 0.0

    @property
    def lanes(self) -> Lanes:
        """Return all lanes of the route; none once its catalog entry and rows are gone."""
        return self._lanes() or Lanes()

    @property
    def row_s(self) -> float:
        """Return the predicted seconds of a row in a full batch."""
        return self.times.predict_s(self.max_batch) / self.max_batch

    def queue_of(self, share: Share) -> "Queue | None":
        """Return the rows of a share that wait here; None if there are none."""
        return self.queues.get(share)

    def push(self, flight: Flight, now: float) -> None:
        """Put a row into the lane, with the next start in its caller's share."""
        flight.lane = self
        flight.queued = True
        flight.queued_at = now
        claim = flight.claim
        start = flight.start = claim.start(self._row_s or self.row_s)
        order = flight.order = self._order = self._order + 1
        self.rows += 1
        queue = self.queues.get(claim.share) or self._open(claim.share)
        queue.rows += 1
        heapq.heappush(queue.heap, (start, flight.due, order, flight))
        if flight.joined_claims:
            joined_claims, flight.joined_claims = flight.joined_claims, {}
            for embedded in joined_claims.values():
                self._join_queue(flight, embedded, flight.due)

    def forget(self, flight: Flight) -> None:
        """Remove a waiting row that no caller needs any more; its queue skips it later."""
        self._leave(flight)
        for share in flight.shares():
            if (queue := self.queues.get(share)) is not None:
                queue.compact()

    def join(self, flight: Flight, due: float, claim: Claim) -> None:
        """Let another call join a row of this lane or of a later one: the row waits no longer than
        a row of that call's own would.
        """
        self.advance(flight, due)
        if claim.share is flight.claim.share:
            if flight.queued and (start := claim.peek_start()) < flight.start:
                flight.start = start
                self._move(flight)
        elif all(embedded.share is not claim.share for embedded in flight.joined_claims.values()):
            self._join_queue(flight, claim, due)

    def advance(self, flight: Flight, due: float) -> None:
        """Move a row forward, in this queue if it waits here and in later ones; its old position in
        the heap is skipped later.
        """
        if due < flight.due:
            flight.due = due
            if flight.queued:
                self._move(flight)

    def take(self, first: "Queue | None" = None, *, one_call: bool = False) -> list[Flight]:
        """Take the next batch out of the lane: rows of the first queue, then of those that have
        spent least. With `one_call`, only rows of the first row's call. `charges` lists who pays.
        """
        taken: list[Flight] = []
        self.charges = []
        self._row_s = self.row_s  # exact enough until the next batch
        for queue in self._order_queues(first):
            begun = len(taken)
            start_s = queue.start_s()
            queue.take(taken, self.max_batch, one_call=one_call)
            if len(taken) > begun:
                self.charges.append(Charge(queue.share, len(taken) - begun, start_s))
                self._leave_all(queue, taken[begun:])
            if len(taken) == self.max_batch or one_call:
                break
        return taken

    def drop(self, queue: "Queue") -> None:
        """Remove a queue that gives no rows, which should never happen."""
        self.rows -= queue.rows
        self._close(queue.share)

    def _order_queues(self, first: "Queue | None") -> "list[Queue]":
        queues = list(self.queues.values())
        if len(queues) == 1:
            return queues
        if self.rows <= self.max_batch or len(queues) > MAX_COMPARED:
            return (
                queues if first is None else [first, *[one for one in queues if one is not first]]
            )
        queues.sort(key=lambda queue: (queue is not first, queue.share.rank(), queue.due()))
        return queues

    def _open(self, share: Share) -> "Queue":
        queue = self.queues.get(share)
        if queue is None:
            queue = self.queues[share] = Queue(self, share)
            share.wait()
        return queue

    def _move(self, flight: Flight) -> None:
        """Give the row a better position in its own queue."""
        self._order += 1
        flight.order = self._order
        queue = self.queues[flight.claim.share]
        queue.push(flight, flight.start, flight.due, self._order)
        queue.compact()

    def _join_queue(self, flight: Flight, claim: Claim, due: float) -> None:
        """Let the row wait in another caller's queue, too."""
        self._order += 1
        flight.joined_claims = {**flight.joined_claims, self._order: claim}
        if flight.queued:
            self._open(claim.share).add(flight, claim.peek_start(), due, self._order)

    def _leave_all(self, queue: "Queue", flights: Sequence[Flight]) -> None:
        """Count rows that were taken out of this queue."""
        rows = 0
        for flight in flights:
            if flight.joined_claims:
                self._leave(flight)
            else:
                rows += 1
        self.rows -= rows
        queue.rows -= rows
        if rows and not queue.rows:
            self._close(queue.share)

    def _close(self, share: Share) -> None:
        del self.queues[share]
        share.rest()

    def _leave(self, flight: Flight) -> None:
        """Remove the row from every queue."""
        flight.queued = False
        self.rows -= 1
        for share in flight.shares():
            queue = self.queues[share]
            queue.rows -= 1
            if not queue.rows:
                self._close(share)


Entry = tuple[int, float, int, Flight]


class Queue:
    """The rows of one caller's route in a lane, ordered by start, then by when they are due."""

    __slots__ = ("heap", "lane", "rows", "share")

    def __init__(self, lane: Lane, share: Share) -> None:
        self.lane = lane
        self.share = share
        self.rows = 0  # the heap may also hold rows that no longer wait
        self.heap: list[Entry] = []

    def add(self, flight: Flight, start: int, due: float, order: int) -> None:
        """Add a row that was not in the queue."""
        self.rows += 1
        heapq.heappush(self.heap, (start, due, order, flight))

    def push(self, flight: Flight, start: int, due: float, order: int) -> None:
        """Give a row of this queue a better position."""
        heapq.heappush(self.heap, (start, due, order, flight))

    def entry(self) -> Entry | None:
        """Return the first waiting row with its position."""
        heap, lane = self.heap, self.lane
        while heap:
            entry = heap[0]
            _, _, order, flight = entry
            here = flight.queued and flight.lane is lane
            if here and (flight.order == order or order in flight.joined_claims):
                return entry
            heapq.heappop(heap)
        return None

    def start_s(self) -> float:
        """Return the start of the first waiting row in seconds, 0 if none waits."""
        entry = self.entry()
        return 0.0 if entry is None else entry[0] * SLACK_S

    def due(self) -> tuple[float, float]:
        """Return when the first row is due and when it arrived."""
        entry = self.entry()
        return (math.inf, math.inf) if entry is None else (entry[1], entry[3].arrived)

    def take(self, taken: list[Flight], most: int, *, one_call: bool) -> None:
        """Move up to `most` rows into the batch; the caller must report them to the lane."""
        heap, lane = self.heap, self.lane
        while heap and len(taken) < most:
            _, _, order, flight = heap[0]
            here = flight.queued and flight.lane is lane
            if here and (flight.order == order or order in flight.joined_claims):
                if one_call and taken and not flight.shares_call_with(taken[0]):
                    return
                flight.queued = False
                taken.append(flight)
            heapq.heappop(heap)

    def rows_before(self, due: float) -> int:
        """Return about how many rows are due earlier."""
        return self._count(lambda entry: entry[1] <= due)

    def rows_ahead(self, start: int, due: float) -> int:
        """Return about how many rows come before a new one with this position."""
        return self._count(lambda entry: entry[:2] <= (start, due))

    def _count(self, counts: Callable[[Entry], bool]) -> int:
        """Count exactly up to 64 waiting rows, beyond that from a sample."""
        heap: Sequence[Entry] = self.heap
        if not heap or self.rows == 0:
            return 0
        stride = 1 + len(heap) // 64
        sample = heap[::stride]
        earlier = sum(1 for entry in sample if counts(entry))
        return min(self.rows, earlier * self.rows // len(sample))

    def compact(self) -> None:
        """Drop entries that the heap would skip, once they outnumber the waiting rows."""
        if len(self.heap) > 2 * self.rows + _SMALL_HEAP:
            self.heap = [entry for entry in self.heap if self._waits(entry)]
            heapq.heapify(self.heap)

    def _waits(self, entry: Entry) -> bool:
        flight, order = entry[3], entry[2]
        return (
            flight.queued
            and flight.lane is self.lane
            and (flight.order == order or order in flight.joined_claims)
        )
