"""Which worker is replaced: one that is silent or stuck for several checks, if the judge is not
late itself.
"""

from serving.process.watchdog import Watchdog


class Supervisor:
    """Looks once a second, unless told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0
        self.dog = Watchdog(self.now, interval_s=1.0, max_missed=3, start_timeout_s=10.0)

    def observe(
        self, after_s: float = 1.0, *, ready: bool = True, answered: bool = False, stuck: str = ""
    ) -> str:
        self.now += after_s
        return self.dog.observe(self.now, ready=ready, answered=answered, stuck=stuck)


def test_a_worker_that_misses_several_checks_in_a_row_is_replaced() -> None:
    one = Supervisor()
    assert [one.observe() for _ in range(3)] == ["", "", "did not answer 3 checks, 1 s apart"]


def test_a_worker_that_answers_now_and_then_is_kept() -> None:
    one = Supervisor()
    for number in range(100):
        assert one.observe(answered=number % 3 == 0) == ""


def test_intervals_in_which_the_supervisor_was_late_do_not_count() -> None:
    one = Supervisor()
    for _ in range(100):
        assert one.observe(3600.0) == ""  # suspended, or starved of CPU
    assert [one.observe(), one.observe()] == ["", ""]
    assert one.observe() != ""


def test_a_worker_that_says_twice_that_it_is_stuck_is_replaced() -> None:
    one = Supervisor()
    assert one.observe(answered=True, stuck="stage large") == ""
    assert one.observe(answered=True) == ""
    assert one.observe(answered=True, stuck="stage large") == ""
    assert one.observe(answered=True, stuck="stage large") == "is stuck: stage large"


def test_a_worker_that_starts_is_not_checked_but_has_a_limit() -> None:
    one = Supervisor()
    assert {one.observe(ready=False) for _ in range(10)} == {""}
    assert one.observe(3600.0, ready=False) == ""
    assert one.observe(ready=False) == "was not ready within 10 s"
