"""Judges whether a worker still works, by checks that it must answer at fixed intervals.

A worker that is stopped, or whose event loop hangs, does not answer; one whose device is stuck
reports so. Several checks in a row decide. An interval in which the supervisor itself was late is
no evidence: the machine was suspended or overloaded.
"""

_LATE_INTERVALS = 1.5  # times the interval
_STUCK = 2  # checks in a row that report it


class Watchdog:
    """The watchdog of one process. Times are given to it, so that tests need no clock."""

    def __init__(
        self, now: float, *, interval_s: float, max_missed: int, start_timeout_s: float
    ) -> None:
        self._interval_s = interval_s
        self._max_missed = max_missed
        self._start_timeout_s = start_timeout_s
        self._observed_at = now
        self._starting_s = 0.0  # counted intervals only
        self._missed = 0
        self._stuck = 0

    def observe(self, now: float, *, ready: bool, answered: bool, stuck: str) -> str:
        """Call it once an interval. Return why the process must be replaced; empty if it need not.

        `answered`: a message came since the last call; `stuck`: the fault that the worker reports.
        """
        seconds = now - self._observed_at
        self._observed_at = now
        if seconds > _LATE_INTERVALS * self._interval_s:
            return ""
        if not ready:
            self._starting_s += seconds
            late = self._starting_s > self._start_timeout_s
            return f"was not ready within {self._start_timeout_s:g} s" if late else ""
        self._missed = 0 if answered else self._missed + 1
        self._stuck = self._stuck + 1 if stuck else 0
        if self._missed >= self._max_missed:
            return f"did not answer {self._missed} checks, {self._interval_s:g} s apart"
        return f"is stuck: {stuck}" if self._stuck >= _STUCK else ""
