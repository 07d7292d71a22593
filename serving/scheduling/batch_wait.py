"""Decides whether a short batch waits for rows that the event loop is about to bring.

Passing a batch to the device's thread and back costs about as much as a few rows of a small net.
Before a batch shorter than that, the loop runs on until some passes have brought no new row (a gRPC
call takes about five passes). An idle loop passes at once, so this costs no waiting time. It ends
after a fixed number of passes and a few milliseconds, however many rows arrive.

Where waiting has brought nothing several times in a row, as with a single client, a batch waits for
one pass only, and now and then for all of them, to see whether that is still so.
"""

from serving.scheduling.lanes import Lane

MIN_BATCH_S = 0.0005
QUIET_PASSES = 16  # in a row without a new row
MAX_PASSES = 64
FUTILE = 8  # waits in a row that brought no row; from then on, one of so many is a full one
MAX_WAIT_S = 0.005  # a pass can be long: the device does not wait while a large body is read


class BatchWait:
    """The waiting of one device; call `begin` whenever it becomes free or gets its first row."""

    __slots__ = ("_arrived", "_full", "_futile", "_lane", "_passes", "_quiet", "_rows", "_until")

    def __init__(self) -> None:
        self._lane = 0  # an id only: a replaced route's lane must not be kept alive
        self._rows = 0
        self._arrived = -1
        self._futile = 0  # waits in a row that brought no row
        self._full = QUIET_PASSES  # of this wait
        self._quiet = self._passes = 0
        self._until = 0.0

    def begin(self, now: float) -> None:
        """Start the waiting anew."""
        self._lane = 0
        self._arrived = -1
        self._full = QUIET_PASSES if self._futile < FUTILE or self._futile % FUTILE == 0 else 1
        self._quiet, self._passes = self._full, MAX_PASSES
        self._until = now + MAX_WAIT_S

    def is_quiet(self, arrived: int) -> bool:
        """Return whether the waiting goes on: `arrived` counts rows so far, none of them new."""
        if arrived != self._arrived or self._quiet <= 1 or self._passes <= 1:
            return False
        self._quiet -= 1
        self._passes -= 1
        return True

    def should_wait(self, lane: Lane, arrived: int, now: float) -> bool:
        """Return whether this lane's batch waits for one more pass of the loop."""
        self._arrived = arrived
        rows = lane.rows
        if rows >= lane.max_batch or lane.times.predict_s(rows) >= MIN_BATCH_S:
            return False
        if id(lane) == self._lane and rows == self._rows:
            self._quiet -= 1
        else:
            if self._lane == 0:
                self._futile += 1
            else:
                self._futile, self._full = 0, QUIET_PASSES
            self._lane, self._rows, self._quiet = id(lane), rows, self._full
        self._passes -= 1
        return self._quiet > 0 and self._passes > 0 and now < self._until
