"""Which rows get the device: those that are due first."""

import time
from collections.abc import Iterable, Mapping

import pytest

from serving.scheduling.lane_choice import LaneChoice
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block
from tests.fakes.toys import ToyStage, final, onward, serve_toy

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
        block = Block(lane, None, range(1), {}, {}, None, now + due_s, now - queued_s)
        lane.push(block, now - queued_s)


def choose(lanes: Iterable[Lane]) -> Lane | None:
    queue = LaneChoice().choose(lanes, 0.0)
    return None if queue is None else queue.lane


def test_nobody_waits_nobody_is_chosen(lanes: Mapping[str, Lane]) -> None:
    assert choose(lanes.values()) is None


def test_who_is_due_first_goes_first(lanes: Mapping[str, Lane]) -> None:
    push(lanes["light"], 1, due_s=20.0)
    push(lanes["large"], 1, due_s=10.0)
    assert choose(lanes.values()) is lanes["large"]


def test_a_full_batch_of_the_first_stage_does_not_pass_survivors(lanes: Mapping[str, Lane]) -> None:
    push(lanes["large"], 2, due_s=PATIENCE_S - 1.0)
    push(lanes["light"], lanes["light"].max_batch)
    assert choose(lanes.values()) is lanes["large"]


def test_a_full_batch_of_a_later_stage_does_not_pass_rows_that_enter(
    lanes: Mapping[str, Lane],
) -> None:
    push(lanes["light"], 2, due_s=PATIENCE_S - 1.0)
    push(lanes["large"], lanes["large"].max_batch)
    assert choose(lanes.values()) is lanes["light"]
