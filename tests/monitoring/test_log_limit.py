"""Some lines a minute from each place that logs, and how many there would have been."""

import io
import logging
from collections.abc import Callable

import pytest

from monitoring.log_limit import UNLIMITED, LimitedHandler
from monitoring.log_lines import LineFormatter


class Log:
    """A logger of its own behind a handler whose clock stands still."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stream = io.StringIO()
        self.handler = LimitedHandler(self.stream, clock=lambda: self.now)
        self.handler.setFormatter(LineFormatter())
        self.logger = logging.Logger("sparing.test")
        self.logger.addHandler(self.handler)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def fail(self, times: int, about: str = "") -> None:
        for number in range(times):
            self.logger.error("stage failed: %d", number, extra={"about": about})


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_place_writes_some_lines_and_then_counts(log: Log) -> None:
    log.fail(10_000)
    assert [line[-2:] for line in log.lines()] == [f" {number}" for number in range(5)]


def test_what_was_suppressed_is_told_with_the_next_line_after_the_interval(log: Log) -> None:
    log.fail(300)
    log.now += 59.0
    log.logger.error("another")
    assert len(log.lines()) == 6
    log.now += 1.0
    log.logger.error("another")
    *_, told, _ = log.lines()
    assert told.endswith(
        "295 more lines like this one were suppressed within 60 s: stage failed: %d"
    )
    log.fail(300)
    assert len(log.lines()) == 8 + 5


def test_what_was_suppressed_is_told_at_the_end(log: Log) -> None:
    log.fail(7, about="large")
    log.handler.close()
    assert "2 more lines like this one" in log.lines()[-1]
    assert log.lines()[-1].endswith("stage failed: %d (large)")


def test_a_place_does_not_hide_another_nor_a_stage_another(log: Log) -> None:
    log.fail(100, about="light")
    log.fail(1, about="large")
    log.logger.error("something else")
    assert len(log.lines()) == 7


def test_a_library_that_writes_its_words_into_the_template_is_one_place(log: Log) -> None:
    for number in range(2000):
        log.logger.warning(f"client {number} sent something")
    log.handler.close()
    assert len(log.lines()) == 6


@pytest.mark.parametrize(
    "write",
    [
        lambda logger: logger.info("serving", extra=UNLIMITED),
        lambda logger: logger.debug("details"),
    ],
)
def test_what_callers_cannot_cause_and_details_asked_for_are_not_counted(
    log: Log, write: Callable[[logging.Logger], None]
) -> None:
    for _ in range(100):
        write(log.logger)
    assert len(log.lines()) == 100


def test_places_are_bounded(log: Log) -> None:
    for number in range(5000):
        log.fail(1, about=str(number))
    assert len(log.lines()) <= 1024 + 5
    log.now += 60.0
    log.fail(1)
    assert "more lines like this one" in log.stream.getvalue()
