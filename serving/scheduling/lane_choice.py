"""Chooses the rows that run next: the caller that has spent least, within it the route that has
spent least, within it the row with the earliest start, deadline and arrival
(`serving.scheduling.fair_shares`).

Under overload, new calls with few rows would go before a call with many rows again and again. So
every few turns of a route belong to the rows that arrived first, if they arrived long ago.
"""

from collections.abc import Callable, Iterable, Sequence

from serving.scheduling.fair_shares import SLACK_S, Share
from serving.scheduling.lanes import MAX_COMPARED, Lane
from serving.scheduling.queues import Queue

LONG_WAIT_S = 1.0  # since the rows arrived
TURNS = 4  # one of so many belongs to the rows that have waited for longest


class LaneChoice:
    """Chooses among lanes; remembers only which of very many queues it compared last."""

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, lanes: Iterable[Lane], now: float) -> Queue | None:
        """Return the queue whose turn it is; None if no row waits."""
        queues = [queue for lane in lanes for queue in lane.queues.values()]
        if not queues:
            return None
        if len(queues) > MAX_COMPARED:  # other ones in each turn
            stride = 1 + len(queues) // MAX_COMPARED
            self._turn += 1
            queues = queues[self._turn % stride :: stride]
        return _find_first(queues, now)


def _find_first(queues: Sequence[Queue], now: float) -> Queue:
    """Return the queue of the neediest route of the neediest caller. `queues` is not empty, and
    neither is any queue in it.
    """
    if any(queue.share is not queues[0].share for queue in queues):
        queues = _keep_least_served(queues, lambda queue: queue.share.parent or queue.share)
        queues = _keep_least_served(queues, lambda queue: queue.share)
    first = queues[0] if len(queues) == 1 else min(queues, key=_place)
    share = first.share
    if share.turn % TURNS == 0 and now >= share.old_from:
        return _prefer_oldest(queues, first, now)
    return first


def _prefer_oldest(queues: Sequence[Queue], first: Queue, now: float) -> Queue:
    """Put the rows of one route that arrived first before its others, if they arrived long ago, and
    return their queue; else `first`.
    """
    blocks = [(queue, block) for queue in queues if (block := queue.oldest()) is not None]
    if blocks:
        queue, oldest = min(blocks, key=lambda pair: pair[1].arrived)
        if now - oldest.arrived > LONG_WAIT_S:
            queue.lane.put_first(oldest, first.start_s())
            return queue
        first.share.old_from = oldest.arrived + LONG_WAIT_S
    return first


def _keep_least_served(
    queues: Sequence[Queue], share_of: Callable[[Queue], Share]
) -> Sequence[Queue]:
    """Keep the queues of one share: among those that have spent about least, the one due first."""
    most_s = min([share_of(queue).spent_s for queue in queues]) + SLACK_S
    near = [queue for queue in queues if share_of(queue).spent_s <= most_s]
    if len(near) > 1:
        first = share_of(min(near, key=Queue.due))
        near = [queue for queue in near if share_of(queue) is first]
    return near


def _place(queue: Queue) -> tuple[int, float, float]:
    entry = queue.entry()
    return (0, 0.0, 0.0) if entry is None else (entry[0], entry[1], entry[3].arrived)
