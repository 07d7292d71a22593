"""A batch's time goes to its rows by their MACs; only answers save work."""

import asyncio

import numpy as np
import pytest

from core.columns import Steps, as_steps
from core.errors import StageFailed
from core.messages import Step
from monitoring.metrics.collector import Metrics
from serving.engine.engine import Engine
from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.costs import share
from tests.fakes.toys import ToyStage, ask, serve_toy, with_engine

LANE = serve_toy(ToyStage("only", lambda x: Step(1, None, None))).entry


def share_out(*macs: int) -> list[float]:
    blocks = [Block(LANE, None, range(1), {}, {}, None, 0.0, 0.0) for _ in macs]
    share(blocks, as_steps([Step(one, None, None) for one in macs]), 6.0)
    return [float(np.broadcast_to(block.device_s, 1)[0]) for block in blocks]


def test_time_goes_by_macs_and_evenly_where_there_are_none() -> None:
    assert share_out(1, 2) == [2.0, 4.0]
    assert share_out(0, 0) == [3.0, 3.0]


def test_rows_of_a_block_that_cost_alike_need_no_array() -> None:
    block = Block(LANE, None, range(4), {}, {}, None, 0.0, 0.0)
    share([block], Steps(4, 10, None), 6.0)
    assert block.device_s == 1.5


def test_a_row_that_fails_has_spent_and_saved_nothing() -> None:
    metrics = Metrics()
    only = ToyStage("only", lambda x: Step(7, None, None))

    async def use(engine: Engine) -> None:
        with pytest.raises(StageFailed):
            await engine.answer(ask(3))
        await asyncio.sleep(0)

    with_engine(use, serve_toy(only, metrics=metrics))
    body = metrics.render()[0].decode()
    assert 'sparing_macs_total{exit="failed",route="toy"} 7.0' in body
    assert 'sparing_full_macs_total{route="toy"} 0.0' in body
