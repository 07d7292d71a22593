"""One pod: an event loop, a queue for each stage, and one device that runs a batch at a time.

Like the server's scheduler, a free device takes the stage whose first row arrived earliest and runs
what waits there, up to the stage's largest batch. It never waits for more rows. Rows that go on
wait in the next stage's queue beside those of other requests.
"""

from collections import deque
from collections.abc import Sequence

from simulation.workload import LaneCosts

TURN_BITS = 48


class Pod:
    """A pod from its creation to its end. The simulator moves it; it knows no clock of its own."""

    __slots__ = (
        "answered", "batches", "busy_s", "created_s", "draining_since_s", "ended_s", "lanes",
        "loop_free_s", "number", "outstanding", "queue_s", "queued_at_s", "queues", "rank",
        "ready_s", "running", "waiting",
    )  # fmt: skip

    def __init__(
        self, number: int, lanes: Sequence[LaneCosts], queued_at_s: list[float], created_s: float
    ) -> None:
        self.number = number
        self.lanes = lanes
        self.queued_at_s = queued_at_s  # of every request, shared by all pods
        self.created_s = created_s
        self.ready_s: float | None = None
        self.draining_since_s: float | None = None
        self.ended_s: float | None = None
        self.queues: list[deque[int]] = [deque() for _ in lanes]  # each sorted by arrival
        self.waiting = 0  # rows in all queues
        self.running = False
        self.loop_free_s = 0.0
        self.outstanding = 0  # requests that are not answered yet
        self.rank = 0  # outstanding requests, then the turn in which it was chosen last
        self.busy_s = 0.0  # of ended batches
        self.queue_s = 0.0  # waiting time, summed over rows
        self.answered = 0
        self.batches = 0

    def accept(self, turn: int) -> None:
        """Take one request; `turn` counts the balancer's choices."""
        self.outstanding += 1
        self.rank = (self.outstanding << TURN_BITS) + turn

    def answer(self) -> None:
        """Give one answer."""
        self.outstanding -= 1
        self.answered += 1
        self.rank -= 1 << TURN_BITS

    def enqueue(self, row: int, lane: int, now_s: float) -> None:
        """Put a row into the queue of a stage."""
        self.queues[lane].append(row)
        self.waiting += 1
        self.queued_at_s[row] = now_s

    def take_batch(self, now_s: float) -> tuple[int, list[int]]:
        """Return the next batch, a stage's number and its rows. A row must be waiting."""
        lane, head = -1, 0
        for number, queue in enumerate(self.queues):
            if queue and (lane < 0 or queue[0] < head):
                lane, head = number, queue[0]
        queue, most = self.queues[lane], self.lanes[lane].max_batch
        if len(queue) <= most:
            rows = list(queue)
            queue.clear()
        else:
            rows = [queue.popleft() for _ in range(most)]
        self.waiting -= len(rows)
        queued_at_s = self.queued_at_s
        self.queue_s += len(rows) * now_s - sum([queued_at_s[row] for row in rows])
        self.running = True
        self.batches += 1
        return lane, rows
