"""A batch's time goes to its rows by their MACs, a failed one's too; only answers save work."""

import asyncio

import pytest

from core.errors import StageFailed
from core.messages import Step
from monitoring.metrics.collector import Metrics
from serving.engine.engine import Engine
from serving.scheduling.costs import share
from serving.scheduling.lanes import Flight
from tests.fakes.toys import ToyStage, ask, serve_toy, with_engine

LANE = serve_toy(ToyStage("only", lambda x: Step(1, None, None))).entry


def share_out(*steps: Step) -> list[float]:
    flights = [Flight(LANE, {}, {}, None, 0.0, 0.0) for _ in steps]
    share(flights, steps, 6.0)
    return [flight.device_s for flight in flights]


def test_time_goes_by_macs_and_evenly_where_there_are_none() -> None:
    assert share_out(Step(1, None, None), Step(2, None, None)) == [2.0, 4.0]
    assert share_out(Step(0, None, None), Step(0, None, None)) == [3.0, 3.0]


def test_what_is_no_step_is_taken_for_an_average_one() -> None:
    broken: Step = "no step"  # type: ignore[assignment]
    assert share_out(Step(1, None, None), Step(3, None, None), broken) == [1.0, 3.0, 2.0]


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
