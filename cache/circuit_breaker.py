"""A circuit breaker: stops attempts for a while after repeated failures, then allows one.

Closed: every attempt is allowed. After `failures` in a row it opens: no attempt is allowed for
`retry_s` seconds. Then it is half-open: one attempt is allowed; success closes the breaker, failure
opens it for another `retry_s`.
"""

from collections.abc import Callable
from typing import Literal, get_args

BreakerState = Literal["closed", "half-open", "open"]
BREAKER_STATES: tuple[BreakerState, ...] = get_args(BreakerState)


class CircuitBreaker:
    """`clock` returns seconds that never decrease."""

    def __init__(self, failures: int, retry_s: float, clock: Callable[[], float]) -> None:
        self._max_failures = failures
        self._retry_s = retry_s
        self._clock = clock
        self._failures = 0  # in a row
        self._retry_at = 0.0

    def state(self) -> BreakerState:
        if self._failures < self._max_failures:
            return "closed"
        return "half-open" if self._clock() >= self._retry_at else "open"

    def allow_attempt(self) -> bool:
        """Whether an attempt is allowed now; this uses up the only one of a half-open breaker.

        If its result is never recorded, another attempt is allowed after `retry_s`.
        """
        state = self.state()
        if state == "half-open":
            self._retry_at = self._clock() + self._retry_s
        return state != "open"

    def record_success(self) -> bool:
        """Record a success; true if it closed the breaker."""
        was_closed = self._failures < self._max_failures
        self._failures = 0
        return not was_closed

    def record_failure(self) -> bool:
        """Record a failure; true if it opened a closed breaker."""
        self._failures += 1
        if self._failures < self._max_failures:
            return False
        self._retry_at = self._clock() + self._retry_s
        return self._failures == self._max_failures
