"""Clocks of a device's work."""

import threading
import time


class CpuClock:
    """CPU time of the thread that runs the batches; the running batch counts as it goes on.

    A runtime's further threads are not counted.
    """

    __slots__ = ("_progress", "_thread")

    def __init__(self) -> None:
        self._progress: tuple[float, float | None] = (0.0, None)  # done; start of the running one
        self._thread = 0

    def begin(self) -> None:
        self._thread = threading.get_ident()
        self._progress = self._progress[0], time.thread_time()

    def end(self) -> float:
        done_s, began_s = self._progress
        spent_s = 0.0 if began_s is None else time.thread_time() - began_s
        self._progress = done_s + spent_s, None
        return spent_s

    def total_s(self) -> float:
        done_s, began_s = self._progress
        if began_s is None:
            return done_s
        clock = time.pthread_getcpuclockid(self._thread)
        return done_s + max(0.0, time.clock_gettime(clock) - began_s)


class ElapsedClock:
    """Elapsed time of batches, for a runtime that returns when its GPU is done."""

    __slots__ = ("_progress",)

    def __init__(self) -> None:
        self._progress: tuple[float, float | None] = (0.0, None)

    def begin(self) -> None:
        self._progress = self._progress[0], time.perf_counter()

    def end(self) -> float:
        done_s, began_s = self._progress
        spent_s = 0.0 if began_s is None else time.perf_counter() - began_s
        self._progress = done_s + spent_s, None
        return spent_s

    def total_s(self) -> float:
        done_s, began_s = self._progress
        return done_s if began_s is None else done_s + time.perf_counter() - began_s
