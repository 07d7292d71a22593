"""The breaker opens after failures in a row, tries once after a while, and closes by itself."""

from cache.breaker import Breaker
from tests.fakes.clock import Clock


def fail(breaker: Breaker, times: int) -> list[bool]:
    return [breaker.fail() for _ in range(times)]


def test_it_opens_with_the_third_failure_in_a_row_and_says_so_once() -> None:
    breaker = Breaker(3, 1.0, Clock())
    assert fail(breaker, 2) == [False, False]
    assert breaker.state() == "closed"
    breaker.succeed()
    assert fail(breaker, 4) == [False, False, True, False]
    assert breaker.state() == "open"
    assert not breaker.admit()


def test_after_a_while_a_single_attempt_is_admitted() -> None:
    clock = Clock()
    breaker = Breaker(1, 2.0, clock)
    breaker.fail()
    clock.now_s += 1.9
    assert (breaker.state(), breaker.admit()) == ("open", False)
    clock.now_s += 0.1
    assert breaker.state() == "half-open"
    assert [breaker.admit() for _ in range(3)] == [True, False, False]


def test_the_single_attempt_closes_it_or_opens_it_again() -> None:
    clock = Clock()
    breaker = Breaker(1, 2.0, clock)
    breaker.fail()
    clock.now_s += 2.0
    assert breaker.admit()
    assert breaker.fail() is False  # it had not closed meanwhile
    assert breaker.state() == "open"
    clock.now_s += 2.0
    assert breaker.admit()
    assert breaker.succeed() is True
    assert breaker.state() == "closed"
    assert all(breaker.admit() for _ in range(5))


def test_an_attempt_that_never_tells_its_end_does_not_keep_it_open() -> None:
    clock = Clock()
    breaker = Breaker(1, 2.0, clock)
    breaker.fail()
    clock.now_s += 2.0
    assert breaker.admit()
    clock.now_s += 2.0
    assert breaker.admit()
