"""Predicts how long a stage's batches take, for deadlines and `/v1/routes`, and measures the
average cost of a repeated unit of work, such as a route's row on the device.
"""

import time
from collections.abc import Callable

# A prediction that keeps rows away is never corrected by them: a slowdown that has not been seen
# for this long is taken as over.
_FORGET_S = 10.0
WEIGHT = 0.1  # of a new batch
_HALF_LIFE_S = 2.0


class BatchTimes:
    """Predicts a batch's seconds as `fixed + per row * rows`: a line through two warm-up runs,
    corrected by every batch.
    """

    __slots__ = ("_clock", "_fixed_s", "_observed_at", "_per_row_s", "_scale")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._observed_at = 0.0
        self._fixed_s = 0.0
        self._per_row_s = 0.0
        self._scale = 1.0

    def calibrate(self, one_s: float, many_s: float, many_rows: int) -> None:
        """Set the line through two runs: of one row, and of `many_rows` rows."""
        self._per_row_s = max(0.0, many_s - one_s) / (many_rows - 1) if many_rows > 1 else one_s
        self._fixed_s = max(0.0, one_s - self._per_row_s)
        self._scale = 1.0

    def observe(self, rows: int, seconds: float) -> None:
        """Correct the prediction by a batch of `rows` rows that took `seconds`."""
        line_s = self._fixed_s + self._per_row_s * rows
        if line_s <= 0.0:  # never calibrated: only the first batch is known
            self._per_row_s = seconds / rows
            return
        ratio = min(max(seconds / line_s, 0.1), 10.0)
        scale = self._decayed_scale()
        self._scale = scale + WEIGHT * (ratio - scale)
        self._observed_at = self._clock()

    def predict_s(self, rows: int) -> float:
        """Return the predicted seconds of a batch; 0 while nothing is known."""
        return self._decayed_scale() * (self._fixed_s + self._per_row_s * rows)

    def _decayed_scale(self) -> float:
        if self._scale > 1.0 and self._clock() - self._observed_at > _FORGET_S:
            return 1.0
        return self._scale


class UnitCost:
    """Mean seconds for each unit, weighted towards the last few seconds of work."""

    __slots__ = ("_clock", "_observed_at", "_seconds", "_units")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._observed_at = 0.0
        self._seconds = 0.0
        self._units = 0.0

    def observe(self, units: int, seconds: float) -> None:
        """Add units that were begun and seconds that were spent; either may be 0."""
        now = self._clock()
        weight = 0.5 ** ((now - self._observed_at) / _HALF_LIFE_S)
        self._observed_at = now
        self._units = self._units * weight + units
        self._seconds = self._seconds * weight + seconds

    def unit_s(self) -> float | None:
        """Return mean seconds for each unit; None while nothing is known."""
        return self._seconds / self._units if self._units > 0.0 else None
