"""Who gets the device: the row that is due first, but few survivors gather company for a while."""

import time
from collections.abc import Iterable, Mapping

import pytest

from serving.scheduling.lane_choice import Turns
from serving.scheduling.lanes import Flight, Lane
from tests.fakes.toys import ToyStage, final, onward, serve_toy

GATHER_S = 0.05
PATIENCE_S = 30.0


@pytest.fixture
def lanes() -> Mapping[str, Lane]:
    """A light stage and a large one, whose batches cost much before their first row."""
    served = serve_toy(
        ToyStage("light", lambda x: onward(x, "light", "large")),
        ToyStage("large", lambda x: final(x, "large")),
    )
    for lane in served.lanes.values():
        lane.times.calibrate(0.001, 0.002, lane.max_batch)
    return served.lanes


def push(lane: Lane, rows: int, *, queued_s: float = 0.0, due_s: float = PATIENCE_S) -> None:
    """Rows that came so long ago and are due in so many seconds."""
    now = time.monotonic()
    for _ in range(rows):
        flight = Flight(lane, {}, {}, None, now + due_s, now - queued_s)
        lane.push(flight, now - queued_s)


def choose(gather_s: float, lanes: Iterable[Lane]) -> Lane | None:
    queue = Turns(gather_s).choose(lanes)
    return None if queue is None else queue.lane


def test_nobody_waits_nobody_is_chosen(lanes: Mapping[str, Lane]) -> None:
    assert choose(GATHER_S, lanes.values()) is None


def test_who_is_due_first_goes_first(lanes: Mapping[str, Lane]) -> None:
    push(lanes["light"], 1, due_s=20.0)
    push(lanes["large"], 1, due_s=10.0)
    assert choose(GATHER_S, lanes.values()) is lanes["large"]


def test_few_survivors_let_a_full_batch_go_first(lanes: Mapping[str, Lane]) -> None:
    push(lanes["large"], 2, due_s=PATIENCE_S - 1.0)
    push(lanes["light"], lanes["light"].max_batch)
    assert choose(GATHER_S, lanes.values()) is lanes["light"]
    assert choose(0.0, lanes.values()) is lanes["large"]


def test_survivors_do_not_wait_where_no_batch_is_full(lanes: Mapping[str, Lane]) -> None:
    push(lanes["large"], 2, due_s=PATIENCE_S - 1.0)
    push(lanes["light"], lanes["light"].max_batch - 1)
    assert choose(GATHER_S, lanes.values()) is lanes["large"]


def test_survivors_do_not_wait_for_another_route(lanes: Mapping[str, Lane]) -> None:
    other = serve_toy(ToyStage("only", lambda x: final(x, "only")), route="other").entry
    push(lanes["large"], 2, due_s=PATIENCE_S - 1.0)
    push(other, other.max_batch)
    assert choose(GATHER_S, [*lanes.values(), other]) is lanes["large"]


def test_survivors_that_have_waited_go(lanes: Mapping[str, Lane]) -> None:
    push(lanes["large"], 2, queued_s=GATHER_S, due_s=PATIENCE_S - 1.0)
    push(lanes["light"], lanes["light"].max_batch)
    assert choose(GATHER_S, lanes.values()) is lanes["large"]


def test_survivors_that_are_due_soon_go(lanes: Mapping[str, Lane]) -> None:
    push(lanes["large"], 2, due_s=10 * GATHER_S)
    push(lanes["light"], lanes["light"].max_batch)
    assert choose(GATHER_S, lanes.values()) is lanes["large"]


def test_survivors_do_not_wait_for_a_long_batch(lanes: Mapping[str, Lane]) -> None:
    lanes["light"].times.calibrate(0.001, 3 * GATHER_S, lanes["light"].max_batch)
    push(lanes["large"], 2, due_s=PATIENCE_S - 1.0)
    push(lanes["light"], lanes["light"].max_batch)
    assert choose(GATHER_S, lanes.values()) is lanes["large"]


def test_survivors_that_company_would_not_make_cheaper_go(lanes: Mapping[str, Lane]) -> None:
    lanes["large"].times.calibrate(0.001, 0.001 * lanes["large"].max_batch, 8)
    push(lanes["large"], 2, due_s=PATIENCE_S - 1.0)
    push(lanes["light"], lanes["light"].max_batch)
    assert choose(GATHER_S, lanes.values()) is lanes["large"]


def test_rows_that_enter_never_wait_for_company(lanes: Mapping[str, Lane]) -> None:
    push(lanes["light"], 2, due_s=PATIENCE_S - 1.0)
    push(lanes["large"], lanes["large"].max_batch)
    assert choose(GATHER_S, lanes.values()) is lanes["light"]
