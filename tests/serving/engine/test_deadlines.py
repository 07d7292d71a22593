"""Deadlines: answers cut short, misses predicted, nothing late, nobody else harmed."""

import asyncio
import threading
import time

import pytest

from core.errors import (
    DeadlineExceeded,
)
from serving.engine.engine import Engine
from tests.fakes.toys import (
    ToyStage,
    ask,
    cascade,
    final,
    serve_toy,
    values,
    with_engine,
)
from tests.waiting import until


def test_a_row_without_a_deadline_is_not_starved_by_later_deadlines() -> None:
    gate = threading.Event()
    light, large = cascade(gate)

    async def use(engine: Engine) -> None:
        blocker = asyncio.create_task(engine.answer(ask(1)))
        await until(lambda: len(large.batches) == 1)
        patient = asyncio.create_task(engine.answer(ask(2)))
        await asyncio.sleep(0)
        far = time.monotonic() + 60.0
        late = [asyncio.create_task(engine.answer(ask(v, deadline=far))) for v in (4, 6)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(blocker, patient, *late)

    with_engine(use, serve_toy(light, large, max_batch=1), patience_s=0.5)
    assert light.batches == [[1], [2], [4], [6]]


def test_at_its_deadline_a_row_is_released_with_the_answer_it_has() -> None:
    gate = threading.Event()
    light, large = cascade(gate)

    async def use(engine: Engine) -> None:
        deadline = time.monotonic() + 0.4
        answer = (await engine.answer(ask(3, deadline=deadline))).answers[0]
        assert time.monotonic() <= deadline
        assert (answer.stopped_by, answer.outcome.exit) == ("deadline", "light")
        gate.set()

    with_engine(use, serve_toy(light, large), reply_margin_s=0.2)  # whatever the machine does


def test_a_predicted_miss_releases_the_row_before_the_next_stage_costs_anything() -> None:
    light, large = cascade()
    route = serve_toy(light, large)
    route.lanes["large"].times.calibrate(5.0, 5.0, 32)

    async def use(engine: Engine) -> None:
        started = time.monotonic()
        answer = (await engine.answer(ask(3, deadline=started + 1.0))).answers[0]
        assert (answer.stopped_by, answer.outcome.exit) == ("deadline", "light")
        assert time.monotonic() - started < 0.5

    with_engine(use, route)
    assert large.batches == []


def test_a_deadline_that_cannot_be_met_fails_at_once() -> None:
    light, large = cascade()
    route = serve_toy(light, large)
    route.lanes["light"].times.calibrate(5.0, 5.0, 32)

    async def use(engine: Engine) -> None:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="predicted to need 5000"):
            await engine.answer(ask(3, deadline=started + 1.0))
        assert time.monotonic() - started < 0.5

    with_engine(use, route)
    assert light.batches == []


def test_a_row_without_any_answer_at_its_deadline_fails() -> None:
    gate = threading.Event()
    only = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def use(engine: Engine) -> None:
        with pytest.raises(DeadlineExceeded):
            await engine.answer(ask(3, deadline=time.monotonic() + 0.05))
        gate.set()

    with_engine(use, serve_toy(only))


def test_an_answer_cut_short_is_given_to_nobody_else() -> None:
    gate = threading.Event()
    light, large = cascade(gate)

    async def use(engine: Engine) -> None:
        hurried = asyncio.create_task(engine.answer(ask(3, deadline=time.monotonic() + 0.4)))
        patient = asyncio.create_task(engine.answer(ask(3)))
        assert (await hurried).answers[0].stopped_by == "deadline"
        gate.set()
        assert values(await patient) == [103]
        assert values(await engine.answer(ask(3))) == [103]  # and memory knows the whole answer

    with_engine(use, serve_toy(light, large), reply_margin_s=0.2)  # whatever the machine does
    assert large.batches == [[3]]
