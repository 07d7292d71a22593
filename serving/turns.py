"""Which lane gets the free device: the one whose first row is due first, else the older row's.

One exception. Few survivors in a later stage's lane make a dear batch, so they may be passed over
for `gather_s` while a full batch of their route's first stage runs, which brings them company. Only
if company makes them cheaper, that batch is short, and nothing of theirs is due soon.
"""

import math
import time
from collections.abc import Callable, Iterable

from serving.lanes import Flight, Lane

_WORTH_IT = 1.25  # times what a row costs in a full batch
_SOON = 20.0  # times `gather_s`


class Turns:
    """Chooses among lanes; keeps nothing between two choices."""

    def __init__(self, gather_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gather_s = gather_s
        self._clock = clock

    def choose(self, lanes: Iterable[Lane]) -> Lane | None:
        """The lane whose turn it is; None where no row waits."""
        best: tuple[Lane, Flight] | None = None
        best_head = (math.inf, math.inf)
        for lane in lanes:
            first = lane.head()
            if first is not None and (first.due, first.arrived) < best_head:
                best, best_head = (lane, first), (first.due, first.arrived)
        return None if best is None else self._let_pass(*best)

    def _let_pass(self, lane: Lane, first: Flight) -> Lane:
        """The route's first stage, where it goes before the lane whose turn it is; else this."""
        gather_s = self._gather_s
        if gather_s == 0.0 or lane.is_first or lane.rows >= lane.max_batch:
            return lane
        now = self._clock()
        if now - first.queued_at >= gather_s or first.due - now <= _SOON * gather_s:
            return lane
        if _cost_s(lane, lane.rows) <= _WORTH_IT * _cost_s(lane, lane.max_batch):
            return lane
        entry = next((one for one in lane.lanes.values() if one.is_first), lane)
        full = entry.rows >= entry.max_batch
        return entry if full and entry.times.predict_s(entry.max_batch) <= gather_s else lane


def _cost_s(lane: Lane, rows: int) -> float:
    """Of a row in a batch of so many."""
    return lane.times.predict_s(rows) / rows
