"""Predicts how long rows that arrive now will take, given the waiting rows and fair sharing."""

from collections.abc import Iterable, Sequence

from serving.scheduling.fair_shares import SLACK_S, Claim, Share
from serving.scheduling.lanes import Lane
from serving.scheduling.queues import Queue

_MAX_QUEUES = 64  # compared; of more, every n-th stands for those between


def predict_wait_s(
    lanes: Iterable[Lane], lane: Lane, claim: Claim, due: float, rows: int = 1
) -> float:
    """Return the device seconds until `rows` rows that enter the lane now, due at `due`, have been
    through its stage.

    Work of the same caller's route counts if its position is before theirs. Work of others counts
    if it is due earlier, but no more than their share allows.
    """
    start, share = claim.peek_start(), claim.share
    own_s = 0.0
    others: dict[Share, dict[Share, list[Queue]]] = {}  # by caller, then by route
    queues = [queue for one in lanes for queue in one.queues.values()]
    stride = 1 + len(queues) // _MAX_QUEUES
    for queue in queues[::stride]:
        if queue.share is not share:
            caller = queue.share.parent or queue.share
            others.setdefault(caller, {}).setdefault(queue.share, []).append(queue)
        elif queue.lane is not lane:
            own_s += drain_s(queue.lane, queue.rows_ahead(start, due))
    mine = lane.queue_of(share)
    own_s += drain_s(lane, rows + (0 if mine is None else mine.rows_ahead(start, due)))
    caller = share.parent or share
    for other, siblings in others.pop(caller, {}).items():
        own_s += stride * _ahead_s(other, share, siblings, due, own_s)
    total_s = own_s
    for other, routes in others.items():
        all_of_it = [queue for queues in routes.values() for queue in queues]
        total_s += stride * _ahead_s(other, caller, all_of_it, due, own_s)
    return total_s


def drain_s(lane: Lane, rows: int) -> float:
    """Return the seconds for `rows` rows of a lane, in full batches and a remainder."""
    batches, rest = divmod(rows, lane.max_batch)
    seconds = batches * lane.times.predict_s(lane.max_batch)
    return seconds + lane.times.predict_s(rest) if rest else seconds


def predict_own_s(lane: Lane, rows: int, cost_share: float) -> float:
    """Return the seconds that a request's own rows add, which enter the lane now. `cost_share`:
    their cost relative to that at the route's default budget.
    """
    batch_rows = lane.rows + rows
    if batch_rows <= lane.max_batch:
        seconds = lane.times.predict_s(batch_rows) * rows / batch_rows
    else:
        seconds = drain_s(lane, rows)
    return seconds * cost_share / lane.mean_share


def extra_s(lane: Lane, rows: int, cost_share: float) -> float:
    """Return how many seconds more these rows take than rows like the recent ones."""
    if not lane.costs_vary:
        return 0.0
    return predict_own_s(lane, rows, cost_share - lane.mean_share)


def waiting_s(queues: Iterable[Queue]) -> float:
    """Return the seconds for all rows that wait in these queues."""
    return sum([drain_s(queue.lane, queue.rows) for queue in queues])


def _ahead_s(
    other: Share, share: Share, queues: Sequence[Queue], due: float, own_s: float
) -> float:
    """Return how much of the other share's work is done before `own_s` seconds of this share's."""
    lead_s = share.start_s() - other.spent_s  # how much less the other has spent
    most_s = lead_s + own_s + SLACK_S
    if most_s <= 0.0:
        return 0.0
    ahead_s = sum([drain_s(queue.lane, queue.rows_before(due)) for queue in queues])
    if lead_s > SLACK_S:
        ahead_s = max(ahead_s, min(lead_s, waiting_s(queues)))
    return min(ahead_s, most_s)
