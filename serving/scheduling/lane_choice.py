"""Which rows get the free device: of the caller that has spent least, and of its route that has;
there the row that is to start first, is due first, or is older (`serving.scheduling.fair_shares`).

One exception. Few survivors in a later stage's lane make a dear batch, so they may be passed over
for `gather_s` while a full batch of their route's first stage runs, which brings them company. Only
if company makes them cheaper, that batch is short, and nothing of theirs is due soon.
"""

import time
from collections.abc import Callable, Iterable, Sequence

from serving.scheduling.fair_shares import SLACK_S, Share
from serving.scheduling.lanes import MOST_COMPARED, Lane, Queue

_WORTH_IT = 1.25  # times what a row costs in a full batch
_SOON = 20.0  # times `gather_s`


class Turns:
    """Chooses among lanes; between two choices keeps only which of very many it looked at."""

    def __init__(self, gather_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gather_s = gather_s
        self._clock = clock
        self._turn = 0

    def choose(self, lanes: Iterable[Lane]) -> Queue | None:
        """The queue whose turn it is; None where no row waits."""
        queues = [queue for lane in lanes for queue in lane.queues.values()]
        if not queues:
            return None
        if len(queues) > MOST_COMPARED:  # others in every turn
            stride = 1 + len(queues) // MOST_COMPARED
            self._turn += 1
            queues = queues[self._turn % stride :: stride]
        best = queues[0] if len(queues) == 1 else _find_first(queues)
        entry = self._let_pass(best)
        if entry is best.lane:
            return best
        mine = entry.queue_of(best.share)
        return mine or _find_first([*entry.queues.values()])

    def _let_pass(self, queue: Queue) -> Lane:
        """The route's first stage, where it goes before the lane whose turn it is; else this."""
        gather_s, lane = self._gather_s, queue.lane
        if gather_s == 0.0 or lane.is_first or lane.rows >= lane.max_batch:
            return lane
        first = queue.head()
        if first is None:
            return lane
        now = self._clock()
        if now - first.queued_at >= gather_s or first.due - now <= _SOON * gather_s:
            return lane
        if _cost_s(lane, lane.rows) <= _WORTH_IT * _cost_s(lane, lane.max_batch):
            return lane
        entry = next((one for one in lane.lanes.values() if one.is_first), lane)
        full = entry.rows >= entry.max_batch
        return entry if full and entry.times.predict_s(entry.max_batch) <= gather_s else lane


def _find_first(queues: Sequence[Queue]) -> Queue:
    """The neediest caller's neediest route's first row; there are queues, none of them empty."""
    if any(queue.share is not queues[0].share for queue in queues):
        queues = _keep_neediest(queues, lambda queue: queue.share.parent or queue.share)
        queues = _keep_neediest(queues, lambda queue: queue.share)
    return min(queues, key=_place)


def _keep_neediest(queues: Sequence[Queue], share_of: Callable[[Queue], Share]) -> Sequence[Queue]:
    """Of the shares that have spent about least, the queues of the one that is due first."""
    most_s = min([share_of(queue).spent_s for queue in queues]) + SLACK_S
    near = [queue for queue in queues if share_of(queue).spent_s <= most_s]
    if len(near) > 1:
        first = share_of(min(near, key=Queue.due))
        near = [queue for queue in near if share_of(queue) is first]
    return near


def _place(queue: Queue) -> tuple[int, float, float]:
    entry = queue.entry()
    return (0, 0.0, 0.0) if entry is None else (entry[0], entry[1], entry[3].arrived)


def _cost_s(lane: Lane, rows: int) -> float:
    """Of a row in a batch of so many."""
    return lane.times.predict_s(rows) / rows
