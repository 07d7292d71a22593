"""What goes wrong fails its own request only: bad steps, full queues, callers who go away."""

import asyncio
import threading
import time

import pytest

from core.errors import (
    BodyTooLarge,
    InvalidInput,
    Overloaded,
    SparingError,
    StageFailed,
    UnknownRoute,
)
from core.messages import Reply, Step
from harness.waiting import until
from serving.engine.engine import Engine
from tests.fakes.toys import (
    ToyStage,
    ask,
    cascade,
    final,
    onward,
    outcome,
    serve_toy,
    values,
    with_engine,
)


def test_a_cancelled_request_leaves_its_queue() -> None:
    gate = threading.Event()
    light, large = cascade(gate)

    async def use(engine: Engine) -> None:
        blocker = asyncio.create_task(engine.answer(ask(1)))
        await until(lambda: len(large.batches) == 1)
        gone = asyncio.create_task(engine.answer(ask(2, 4)))
        await asyncio.sleep(0)
        assert engine.catalog.resolve("toy", None).entry.rows == 2
        gone.cancel()
        await asyncio.wait([gone])
        assert engine.catalog.resolve("toy", None).entry.rows == 0
        gate.set()
        await blocker
        assert values(await engine.answer(ask(2))) == [2]

    with_engine(use, serve_toy(light, large))
    assert light.batches == [[1], [2]]


def test_a_row_that_makes_its_stage_raise_fails_alone() -> None:
    def step(value: float) -> Step:
        if value == 13:
            raise RuntimeError("unlucky")
        return final(value, "only")

    only = ToyStage("only", step)

    async def use(engine: Engine) -> None:
        tasks = [engine.answer(ask(value)) for value in (1, 13, 2, 3)]
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(got[1], StageFailed)
        assert [values(r) for r in got if isinstance(r, Reply)] == [[1], [2], [3]]
        assert values(await engine.answer(ask(5))) == [5]  # the lane goes on

    with_engine(use, serve_toy(only))


@pytest.mark.parametrize(
    "bad",
    [
        Step(1, None, None),
        Step(1, outcome(0, "only", confidence=float("nan")), None),
        Step(1, outcome(0, "only", confidence=1.5), None),
        onward(0, "only", "nowhere"),
    ],
    ids=["no answer", "nan", "confidence over 1", "unknown stage"],
)
def test_a_bad_step_fails_its_own_row_only(bad: Step) -> None:
    only = ToyStage("only", lambda x: bad if x == 13 else final(x, "only"))

    async def use(engine: Engine) -> None:
        tasks = [engine.answer(ask(value)) for value in (1, 13, 2)]
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(got[1], StageFailed)
        assert isinstance(got[0], Reply)
        assert isinstance(got[2], Reply)

    with_engine(use, serve_toy(only))


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    gate = threading.Event()
    only = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def use(engine: Engine) -> None:
        running = asyncio.create_task(engine.answer(ask(0)))
        await until(lambda: len(only.batches) == 1)
        waiting = asyncio.create_task(engine.answer(ask(1, 2, 3, 4)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="4 rows waiting, at most 4") as refused:
            await engine.answer(ask(5))
        assert refused.value.retry_after_s >= 1.0
        gate.set()
        assert values(await waiting) == [1, 2, 3, 4]
        await running

    with_engine(use, serve_toy(only), max_queued_rows=4)


@pytest.mark.parametrize(
    ("request_rows", "error"), [([], InvalidInput), ([0.0] * 9, BodyTooLarge)], ids=["none", "many"]
)
def test_too_few_or_too_many_rows_are_refused(
    request_rows: list[float], error: type[SparingError]
) -> None:
    async def use(engine: Engine) -> None:
        with pytest.raises(error, match="rows"):
            await engine.answer(ask(*request_rows))

    with_engine(use, serve_toy(*cascade()), max_rows_per_request=8)


def test_unknown_routes_and_versions_are_named() -> None:
    async def use(engine: Engine) -> None:
        with pytest.raises(UnknownRoute, match="'nowhere'"):
            await engine.answer(ask(1, route="nowhere"))
        with pytest.raises(UnknownRoute, match=r"no version '7', it has \['2', '1'\]"):
            await engine.answer(ask(1, version="7"))

    with_engine(use, serve_toy(*cascade()), serve_toy(*cascade(), version="2"))


def test_identical_rows_take_the_room_and_the_time_of_one() -> None:
    light, large = cascade()
    route = serve_toy(light, large)
    route.entry.times.calibrate(0.1, 3.2, 32)

    async def use(engine: Engine) -> None:
        reply = await engine.answer(ask(*[2.0] * 100, deadline=time.monotonic() + 2.0))
        assert values(reply) == [2.0] * 100

    with_engine(use, route, max_queued_rows=8)


def test_a_cancelled_leader_does_not_cancel_its_followers() -> None:
    gate = threading.Event()
    light, large = cascade(gate)

    async def use(engine: Engine) -> None:
        leader = asyncio.create_task(engine.answer(ask(3)))
        await until(lambda: len(large.batches) == 1)
        follower = asyncio.create_task(engine.answer(ask(3)))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.wait([leader])
        assert leader.cancelled()
        gate.set()
        assert values(await follower) == [103]

    with_engine(use, serve_toy(light, large))
    assert large.batches == [[3]]


def test_rows_waiting_in_later_stages_take_room_too() -> None:
    light, large = cascade()
    route = serve_toy(light, large)
    most = 0

    async def use(engine: Engine) -> None:
        nonlocal most
        deadline = time.monotonic() + 1000.0
        tasks: list[asyncio.Task[Reply]] = []
        while len(tasks) < 100:
            if route.entry.rows < 2:  # each due before all others: the large stage has no turn
                value, due = 2 * len(tasks) + 1, deadline - len(tasks)
                tasks.append(asyncio.create_task(engine.answer(ask(value, deadline=due))))
            await asyncio.sleep(0)
            most = max(most, route.lanes["large"].rows)
        for got in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(got, Reply | Overloaded)

    with_engine(use, route, max_queued_rows=8, patience_s=3600.0)
    assert most <= 12  # the limit, and what was on the device meanwhile
