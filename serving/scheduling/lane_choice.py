"""Which rows get the free device: of the caller that has spent least, and of its route that has;
there the row that is to start first, is due first, or is older (`serving.scheduling.fair_shares`).
"""

from collections.abc import Callable, Iterable, Sequence

from serving.scheduling.fair_shares import SLACK_S, Share
from serving.scheduling.lanes import MAX_COMPARED, Lane, Queue


class LaneChoice:
    """Chooses among lanes; between two choices keeps only which of very many it looked at."""

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, lanes: Iterable[Lane]) -> Queue | None:
        """The queue whose turn it is; None where no row waits."""
        queues = [queue for lane in lanes for queue in lane.queues.values()]
        if not queues:
            return None
        if len(queues) > MAX_COMPARED:  # others in every turn
            stride = 1 + len(queues) // MAX_COMPARED
            self._turn += 1
            queues = queues[self._turn % stride :: stride]
        return queues[0] if len(queues) == 1 else _find_first(queues)


def _find_first(queues: Sequence[Queue]) -> Queue:
    """The neediest caller's neediest route's first row; there are queues, none of them empty."""
    if any(queue.share is not queues[0].share for queue in queues):
        queues = _keep_least_served(queues, lambda queue: queue.share.parent or queue.share)
        queues = _keep_least_served(queues, lambda queue: queue.share)
    return min(queues, key=_place)


def _keep_least_served(
    queues: Sequence[Queue], share_of: Callable[[Queue], Share]
) -> Sequence[Queue]:
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
