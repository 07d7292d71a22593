"""A lane is the queue of one stage of one route version; a flight is one row on its way through
lanes.

Identical rows in flight share one flight, while everyone who waits for it (`Waiting`) keeps a
deadline, an answer cut short and a cancellation of his own. Which lane gets the device is the
scheduler's decision.
"""

import heapq
import weakref
from collections.abc import Mapping, Sequence
from typing import Protocol

from core.errors import SparingError
from core.messages import Answer, Array, Handle, Key, Outcome, Stage
from monitoring.counts import RouteMetrics
from monitoring.traces import Trace
from serving.profile import BatchTimes, UnitCost
from serving.similar import Probe

_SMALL_HEAP = 64


class Waiting(Protocol):
    """Somebody to whom a flight's answers go."""

    @property
    def deadline(self) -> float | None: ...
    @property
    def energy_mj(self) -> float | None: ...
    @property
    def started(self) -> float: ...
    @property
    def streams(self) -> bool: ...
    @property
    def trace(self) -> Trace: ...
    def deliver(self, row: int, answer: Answer) -> None: ...
    def progress(self, row: int, answer: Answer) -> None: ...
    def fail(self, error: SparingError) -> None: ...


class Flight:
    """One row being computed: where it is, what it has, who waits for it."""

    __slots__ = (
        "answer", "arrived", "controls", "device_s", "done", "due", "inputs", "key", "lane",
        "lanes", "macs", "probe", "queued", "queued_at", "running", "spent_macs", "state",
        "state_bytes", "steps", "told_s", "waiters",
    )  # fmt: skip

    def __init__(
        self,
        lane: "Lane",
        inputs: Mapping[str, Array],
        controls: Mapping[str, float],
        key: Key | None,
        due: float,
        now: float,
    ) -> None:
        self.lane = lane
        self.lanes = lane.lanes  # a replaced route's lanes live as long as its rows do
        self.inputs = inputs
        self.controls = controls
        self.key = key
        self.probe: Probe | None = None  # for similar memory, which learns from the answer
        self.due = due
        self.arrived = now
        self.queued_at = now
        self.queued = False
        self.waiters: list[tuple[Waiting, int]] = []
        self.answer: Outcome | None = None
        self.state: Handle | None = None
        self.state_bytes = 0  # as counted when the state was taken over
        self.macs = 0  # that nobody has been told of yet
        self.spent_macs = 0
        self.device_s = 0.0  # CPU time of the device
        self.told_s = 0.0  # of it, in answers
        self.steps = 0  # to a next stage, so far
        self.running = False
        self.done = False

    @property
    def is_audit(self) -> bool:
        """Its answer is wanted even when nobody waits for it any more."""
        return self.probe is not None and self.probe.audited is not None

    def is_of_the_call_of(self, other: "Flight") -> bool:
        """The same call waits for both."""
        mine, theirs = self.waiters[:1], other.waiters[:1]
        return bool(mine and theirs) and mine[0][0] is theirs[0][0]


class Lanes(dict[str, "Lane"]):
    """All lanes of one version of a route, by stage name. A lane refers to these weakly: there is
    no cycle, so a replaced route's models are freed with its last row, without a collection.
    """

    __slots__ = ("__weakref__",)


class Lane:
    """Rows waiting for one stage, in the order in which they are due."""

    __slots__ = (
        "_heap", "_lanes", "_order", "is_first", "is_last", "looked_up", "max_batch",
        "metrics", "remember_s", "route", "row_cost", "rows", "stage", "times",
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
        remember_s: float | None,
        row_cost: UnitCost,
        route: str = "",
    ) -> None:
        self.stage = stage
        self.route = route
        self.row_cost = row_cost  # device time of a row of the route, all stages together
        self.remember_s = remember_s  # how long a final answer is kept; None: not at all
        self.max_batch = max_batch
        self.metrics = metrics
        self.is_first = is_first
        self.is_last = is_last  # the route's last declared stage
        self._lanes = weakref.ref(lanes)
        self.times = BatchTimes()
        self.looked_up = 0  # rows that will come here unless another memory knows them
        self.rows = 0  # waiting and wanted; the heap may also hold rows nobody waits for any more
        self._heap: list[tuple[float, int, Flight]] = []
        self._order = 0

    @property
    def lanes(self) -> Lanes:
        """All of the route's, held by its catalog entry and its rows; none once those are gone."""
        return self._lanes() or Lanes()

    def push(self, flight: Flight, now: float) -> None:
        flight.lane = self
        flight.queued = True
        flight.queued_at = now
        self._order += 1
        self.rows += 1
        heapq.heappush(self._heap, (flight.due, self._order, flight))

    def forget(self, flight: Flight) -> None:
        """Nobody wants this waiting row any more; the heap passes over it when it comes up."""
        flight.queued = False
        self.rows -= 1
        self._tidy()

    def hasten(self, flight: Flight, due: float) -> None:
        """Move a row forward, in this queue if it waits here and in those it will come to; its old
        place in the heap is passed over when it comes up.
        """
        flight.due = due
        if flight.queued:
            self._order += 1
            heapq.heappush(self._heap, (due, self._order, flight))
            self._tidy()

    def head(self) -> Flight | None:
        """The first row that waits."""
        heap = self._heap
        while heap:
            due, _, flight = heap[0]
            if flight.queued and flight.lane is self and due == flight.due:
                return flight
            heapq.heappop(heap)
        return None

    def take(self, *, one_call: bool = False) -> list[Flight]:
        """The next batch, out of the queue; with `one_call` only rows of the first row's call."""
        taken: list[Flight] = []
        heap = self._heap
        while len(taken) < self.max_batch and (flight := self.head()) is not None:
            if one_call and taken and not flight.is_of_the_call_of(taken[0]):
                break
            heapq.heappop(heap)
            flight.queued = False
            taken.append(flight)
        self.rows -= len(taken)
        if not self.rows:
            heap.clear()  # what is left are old places of rows, which refer to this lane
        return taken

    def rows_before(self, due: float) -> int:
        """About how many rows are due earlier; exact up to 64 waiting rows, then from a sample."""
        heap: Sequence[tuple[float, int, Flight]] = self._heap
        if not heap or self.rows == 0:
            return 0
        stride = 1 + len(heap) // 64
        sample = heap[::stride]
        earlier = sum(1 for entry in sample if entry[0] <= due)
        return min(self.rows, earlier * self.rows // len(sample))

    def _tidy(self) -> None:
        """Let go of what the heap would pass over, once that is more than what waits."""
        if not self.rows:
            self._heap.clear()
        elif len(self._heap) > 2 * self.rows + _SMALL_HEAP:
            self._heap = [
                (due, order, flight)
                for due, order, flight in self._heap
                if flight.queued and flight.lane is self and due == flight.due
            ]
            heapq.heapify(self._heap)
