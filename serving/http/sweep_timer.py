"""A timer that visits everything that waits for clients, so that no request needs its own timer.

Its clock advances by two intervals a turn at most: a client is not at fault for a loop that
stalled.
"""

import asyncio
from collections.abc import Callable

SWEEP_INTERVAL_S = 0.5


class Sweep:
    """Runs from `wake` until a visit finds nothing left to wait for."""

    def __init__(self, look: Callable[[], bool], interval_s: float = SWEEP_INTERVAL_S) -> None:
        self._look = look
        self._interval_s = interval_s
        self._on = False
        self.now_s = 0.0

    def wake(self) -> None:
        """Call it for everything new that must be visited."""
        if not self._on:
            self._on = True
            self._call_later(asyncio.get_running_loop())

    def advance(self, seconds: float) -> bool:
        """Advance the clock and visit everything; return True while there is something left."""
        self.now_s += seconds
        return self._look()

    def _call_later(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(self._interval_s, self._turn, loop, loop.time())

    def _turn(self, loop: asyncio.AbstractEventLoop, last_s: float) -> None:
        self._on = self.advance(min(loop.time() - last_s, 2 * self._interval_s))
        if self._on:
            self._call_later(loop)
