"""Deadlines: answers cut short, misses predicted, nothing late, nobody else harmed."""

import asyncio
import threading
import time

import pytest

from core.errors import (
    DeadlineExceeded,
)
from harness.waiting import until
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
from tests.serving.scheduling.stepped import Stepped

LONG_S = 5000.0


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
        assert (answer.stopped_by, answer.outcome.exit) == ("deadline", "light")
        gate.set()

    with_engine(use, serve_toy(light, large), reply_margin_s=0.2)  # whatever the machine does


def test_the_release_leaves_the_time_for_the_reply() -> None:
    stepped = Stepped(serve_toy(*cascade()), reply_margin_s=0.2)
    stepped.submit(ask(3, deadline=stepped.clock.now + 0.4))
    stepped.spin()
    stepped.end_batch(0.1)  # light; the large one runs now
    stepped.clock.now += 0.09
    stepped.spin()
    assert stepped.ends == []
    stepped.clock.now += 0.02
    stepped.spin()
    assert stepped.ends == ["ok"]


def test_a_predicted_miss_releases_the_row_before_the_next_stage_costs_anything() -> None:
    light, large = cascade()
    route = serve_toy(light, large)
    route.lanes["large"].times.calibrate(LONG_S, LONG_S, 32)

    async def use(engine: Engine) -> None:
        soon = time.monotonic() + LONG_S / 5  # too long for the test to wait for it
        answer = (await engine.answer(ask(3, deadline=soon))).answers[0]
        assert (answer.stopped_by, answer.outcome.exit) == ("deadline", "light")

    with_engine(use, route)
    assert large.batches == []


def test_a_deadline_that_cannot_be_met_fails_at_once() -> None:
    light, large = cascade()
    route = serve_toy(light, large)
    route.lanes["light"].times.calibrate(LONG_S, LONG_S, 32)

    async def use(engine: Engine) -> None:
        with pytest.raises(DeadlineExceeded, match="predicted to need 5000"):
            await engine.answer(ask(3, deadline=time.monotonic() + LONG_S / 5))

    with_engine(use, route)
    assert light.batches == []


def test_a_deadline_that_cannot_be_met_fails_while_a_batch_runs() -> None:
    gate = threading.Event()
    light, large = cascade(gate)
    route = serve_toy(light, large)

    async def use(engine: Engine) -> None:
        running = asyncio.create_task(engine.answer(ask(1)))
        await until(lambda: len(large.batches) == 1)
        route.lanes["light"].times.calibrate(LONG_S, LONG_S, 32)
        with pytest.raises(DeadlineExceeded, match="predicted to need"):
            await engine.answer(ask(3, deadline=time.monotonic() + LONG_S / 5))
        assert not running.done()
        gate.set()
        await running

    with_engine(use, route)
    assert light.batches == [[1]]


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
