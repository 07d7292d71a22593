"""Decides whether the local cache pays for a route: it must save more than it costs.

A cached row costs its fingerprint, a lookup and storing its answer. It saves a row's device time,
as often as rows come again. Where that is less, nothing is cached for a while; then some thousand
rows are cached again, to see whether rows come again by now.
"""

import time
from collections.abc import Callable

TRIAL_ROWS = 4096  # looked up before a decision
PAUSE_ROWS = 7 * TRIAL_ROWS  # not cached, at most
PAUSE_S = 60.0  # at most
_MARGIN = 2.0  # to stop, the cache must cost so many times what it saves


class CacheWorth:
    """Rows of one route that were looked up, the recent ones with more weight."""

    __slots__ = ("_clock", "_hits", "_paused_rows", "_paused_until", "_rows")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows = 0.0
        self._hits = 0.0
        self._paused_rows = 0
        self._paused_until = 0.0  # 0: it is not paused

    def observe(self, rows: int, hits: int) -> None:
        """Count rows that were looked up, and rows that need not be computed."""
        self._rows += rows
        self._hits += hits
        if self._rows >= 2 * TRIAL_ROWS:
            self._rows /= 2
            self._hits /= 2

    def skip(self, rows: int) -> None:
        """Count rows that were not cached."""
        self._paused_rows += rows

    def pays(self, row_s: float, cache_row_s: float) -> bool:
        """Return whether rows with this device time and this cost of caching are cached now."""
        if self._paused_until:
            if self._paused_rows < PAUSE_ROWS and self._clock() < self._paused_until:
                return False
            self._rows = self._hits = self._paused_until = 0.0
        if self._rows < TRIAL_ROWS or row_s * self._hits * _MARGIN >= cache_row_s * self._rows:
            return True
        self._paused_rows, self._paused_until = 0, self._clock() + PAUSE_S
        return False
