"""How many passes of the event loop a short batch waits for further rows."""

from serving.scheduling.batch_wait import FUTILE, QUIET_PASSES, BatchWait
from serving.scheduling.lanes import Lane
from tests.fakes.toys import ToyStage, final, serve_toy


def make_lane(rows: int = 1) -> Lane:
    lane = serve_toy(ToyStage("only", lambda x: final(x, "only"))).entry
    lane.rows = rows
    return lane


def wait(waiting: BatchWait, lane: Lane, arriving: int = 0) -> int:
    """Passes of one wait, in the first of which so many more rows arrive."""
    waiting.begin(0.0)
    lane.rows = 1
    for passes in range(1000):
        if not waiting.should_wait(lane, lane.rows, 0.0):
            return passes
        if passes == 0:
            lane.rows += arriving
    raise AssertionError("the wait does not end")


def test_a_wait_that_brings_nothing_becomes_short() -> None:
    waiting, lane = BatchWait(), make_lane()
    passes = [wait(waiting, lane) for _ in range(3 * FUTILE)]
    assert passes[:FUTILE] == [QUIET_PASSES] * FUTILE
    assert passes[FUTILE + 1 : 2 * FUTILE] == [1] * (FUTILE - 1)


def test_now_and_then_a_wait_is_a_full_one() -> None:
    waiting, lane = BatchWait(), make_lane()
    passes = [wait(waiting, lane) for _ in range(4 * FUTILE)]
    assert passes[FUTILE:].count(QUIET_PASSES) == 3


def test_waits_are_full_again_once_rows_arrive() -> None:
    waiting, lane = BatchWait(), make_lane()
    for _ in range(2 * FUTILE):
        wait(waiting, lane)
    assert wait(waiting, lane, arriving=1) > QUIET_PASSES
    assert wait(waiting, lane) == QUIET_PASSES
