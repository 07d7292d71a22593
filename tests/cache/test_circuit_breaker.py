"""The breaker opens after failures in a row, tries once after a while, and closes by itself."""

from cache.circuit_breaker import CircuitBreaker
from tests.fakes.clock import Clock


def fail(breaker: CircuitBreaker, times: int) -> list[bool]:
    return [breaker.record_failure() for _ in range(times)]


def test_it_opens_with_the_third_failure_in_a_row_and_says_so_once() -> None:
    breaker = CircuitBreaker(3, 1.0, Clock())
    assert fail(breaker, 2) == [False, False]
    assert breaker.state() == "closed"
    breaker.record_success()
    assert fail(breaker, 4) == [False, False, True, False]
    assert breaker.state() == "open"
    assert not breaker.allow_attempt()


def test_after_a_while_a_single_attempt_is_admitted() -> None:
    clock = Clock()
    breaker = CircuitBreaker(1, 2.0, clock)
    breaker.record_failure()
    clock.now_s += 1.9
    assert (breaker.state(), breaker.allow_attempt()) == ("open", False)
    clock.now_s += 0.1
    assert breaker.state() == "half-open"
    assert [breaker.allow_attempt() for _ in range(3)] == [True, False, False]


def test_the_single_attempt_closes_it_or_opens_it_again() -> None:
    clock = Clock()
    breaker = CircuitBreaker(1, 2.0, clock)
    breaker.record_failure()
    clock.now_s += 2.0
    assert breaker.allow_attempt()
    assert breaker.record_failure() is False  # it had not closed meanwhile
    assert breaker.state() == "open"
    clock.now_s += 2.0
    assert breaker.allow_attempt()
    assert breaker.record_success() is True
    assert breaker.state() == "closed"
    assert all(breaker.allow_attempt() for _ in range(5))


def test_an_attempt_that_never_tells_its_end_does_not_keep_it_open() -> None:
    clock = Clock()
    breaker = CircuitBreaker(1, 2.0, clock)
    breaker.record_failure()
    clock.now_s += 2.0
    assert breaker.allow_attempt()
    clock.now_s += 2.0
    assert breaker.allow_attempt()
