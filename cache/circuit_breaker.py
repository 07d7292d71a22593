"""A circuit breaker: what fails again and again is left alone for a while, then tried once.

Closed: everything may pass. After `failures` in a row it opens: nothing may pass for `retry_s`.
Then it is half-open: one attempt may pass, whose success closes it and whose failure opens it for
another `retry_s`. It knows neither what is attempted nor why it failed.
"""

from collections.abc import Callable
from typing import Literal, get_args

BreakerState = Literal["closed", "half-open", "open"]
BREAKER_STATES: tuple[BreakerState, ...] = get_args(BreakerState)


class CircuitBreaker:
    """`clock` gives seconds that never go back."""

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
        """Whether an attempt may be made now. The one of a half-open breaker is given away by this;
        should its result never be told, another may follow after `retry_s`.
        """
        state = self.state()
        if state == "half-open":
            self._retry_at = self._clock() + self._retry_s
        return state != "open"

    def record_success(self) -> bool:
        """An attempt succeeded; true when that closed the breaker."""
        was_closed = self._failures < self._max_failures
        self._failures = 0
        return not was_closed

    def record_failure(self) -> bool:
        """An attempt failed; true when that opened a closed breaker."""
        self._failures += 1
        if self._failures < self._max_failures:
            return False
        self._retry_at = self._clock() + self._retry_s
        return self._failures == self._max_failures
