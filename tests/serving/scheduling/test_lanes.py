"""A lane's order, its passing over of rows nobody wants, and its estimate of what is ahead."""

import numpy as np

from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block
from tests.fakes.toys import ToyStage, final, serve_toy


def make_lane(max_batch: int = 8) -> Lane:
    return serve_toy(ToyStage("only", lambda x: final(x, "only")), max_batch=max_batch).entry


def make_block(lane: Lane, due: float, rows: int = 1) -> Block:
    return Block(lane, None, range(rows), {"x": np.arange(float(rows))}, {}, None, due, 0.0)


def queue(lane: Lane, *dues: float) -> list[Block]:
    blocks = [make_block(lane, due) for due in dues]
    for block in blocks:
        lane.push(block, 0.0)
    return blocks


def test_rows_are_taken_in_the_order_in_which_they_are_due() -> None:
    lane = make_lane()
    queue(lane, 3.0, 1.0, 2.0)
    assert [block.due for block in lane.take()] == [1.0, 2.0, 3.0]
    assert lane.rows == 0


def test_rows_due_together_keep_their_order_of_arrival() -> None:
    lane = make_lane()
    blocks = queue(lane, 1.0, 1.0, 1.0)
    assert lane.take() == blocks


def test_a_forgotten_row_is_never_taken() -> None:
    lane = make_lane()
    first, second = queue(lane, 1.0, 2.0)
    lane.forget(first)
    assert lane.rows == 1
    assert lane.take() == [second]


def test_a_hastened_row_is_taken_once_and_earlier() -> None:
    lane = make_lane()
    first, second = queue(lane, 1.0, 2.0)
    lane.advance(second, 0.5)
    assert lane.take() == [second, first]
    assert not lane.queues


def test_rows_before_counts_what_is_due_earlier() -> None:
    lane = make_lane()
    queue(lane, *[float(due) for due in range(40)])
    (only,) = lane.queues.values()
    assert only.rows_before(9.5) == 10
    assert only.rows_before(-1.0) == 0
    assert only.rows_before(1e9) == 40


def test_rows_before_is_close_in_long_queues() -> None:
    lane = make_lane()
    queue(lane, *[float(due % 100) for due in range(4000)])
    (only,) = lane.queues.values()
    assert 1500 <= only.rows_before(49.5) <= 2500


def test_rows_that_are_given_up_behind_others_hold_no_memory() -> None:
    lane = make_lane()
    queue(lane, 1.0)
    for _ in range(1000):
        (gone,) = queue(lane, 2.0)
        lane.forget(gone)
    (kept,) = queue(lane, 3.0)
    for due in range(1000):
        lane.advance(kept, 2.9 - due / 1000)
    (waiting,) = lane.queues.values()
    assert len(waiting.heap) < 100
    assert [block.due for block in lane.take()] == [1.0, kept.due]


def test_a_row_that_is_not_queued_is_hastened_for_the_queues_to_come() -> None:
    lane = make_lane()
    (block,) = queue(lane, 2.0)
    lane.take()
    lane.advance(block, 1.0)
    assert not lane.queues
    lane.push(block, 0.0)
    queue(lane, 1.5)
    assert lane.take()[0] is block
