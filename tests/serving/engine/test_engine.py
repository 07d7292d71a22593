"""The engine against toy pipelines: batching, single flight, memory, deadlines, failures,
cancellation.
"""

import asyncio
import threading
import time

from core.messages import Step
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


def test_rows_come_back_in_order_with_exit_reason_and_macs() -> None:
    async def use(engine: Engine) -> None:
        reply = await engine.answer(ask(2, 3, 4))
        assert values(reply) == [2, 103, 4]
        assert [answer.outcome.exit for answer in reply.answers] == ["light", "large", "light"]
        assert [answer.stopped_by for answer in reply.answers] == [
            "confidence",
            "last_stage",
            "confidence",
        ]
        assert [answer.macs for answer in reply.answers] == [1, 2, 1]

    with_engine(use, serve_toy(*cascade()))


def test_survivors_of_different_requests_share_a_batch() -> None:
    gate = threading.Event()
    light, large = cascade(gate)

    async def use(engine: Engine) -> None:
        first = asyncio.create_task(engine.answer(ask(1)))
        await until(lambda: len(large.batches) == 1)  # the device is held by the first survivor
        others = [asyncio.create_task(engine.answer(ask(value))) for value in (3, 5, 7)]
        await asyncio.sleep(0)
        gate.set()
        assert [values(reply) for reply in await asyncio.gather(first, *others)] == [
            [101], [103], [105], [107],
        ]  # fmt: skip

    with_engine(use, serve_toy(light, large))
    assert light.batches == [[1], [3, 5, 7]]
    assert large.batches == [[1], [3, 5, 7]]


def test_without_rebatching_survivors_run_alone() -> None:
    light, large = cascade()

    async def use(engine: Engine) -> None:
        await asyncio.gather(*(engine.answer(ask(value)) for value in (3, 5)))

    with_engine(use, serve_toy(light, large), rebatch_stages=False)
    assert light.batches == [[3, 5]]
    assert large.batches == [[3], [5]]


def test_a_batch_is_never_larger_than_the_stages_limit() -> None:
    light, large = cascade()

    async def use(engine: Engine) -> None:
        await engine.answer(ask(*range(0, 20, 2)))

    with_engine(use, serve_toy(light, large, max_batch=4))
    assert [len(batch) for batch in light.batches] == [4, 4, 2]


def test_the_lane_whose_first_row_is_due_first_gets_the_device() -> None:
    gate = threading.Event()
    order: list[str] = []

    def stage(name: str) -> ToyStage:
        def step(value: float) -> Step:
            order.append(name)
            return final(value, name)

        return ToyStage(name, step, gate=gate if name == "blocker" else None)

    stages = {name: stage(name) for name in ("blocker", "idle", "urgent")}
    routes = [serve_toy(one, route=name) for name, one in stages.items()]

    async def use(engine: Engine) -> None:
        tasks = [asyncio.create_task(engine.answer(ask(1, route="blocker")))]
        await until(lambda: len(stages["blocker"].batches) == 1)
        tasks.append(asyncio.create_task(engine.answer(ask(1, route="idle"))))
        await asyncio.sleep(0)
        soon = time.monotonic() + 0.9
        tasks.append(asyncio.create_task(engine.answer(ask(1, route="urgent", deadline=soon))))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks)

    with_engine(use, *routes, patience_s=30.0)
    assert order == ["blocker", "urgent", "idle"]


def test_a_thousand_identical_requests_run_the_model_once() -> None:
    light, large = cascade()

    async def use(engine: Engine) -> None:
        replies = await asyncio.gather(*(engine.answer(ask(3)) for _ in range(1000)))
        assert {values(reply)[0] for reply in replies} == {103}
        assert sum(reply.answers[0].macs for reply in replies) == 2  # paid for once

    with_engine(use, serve_toy(light, large))
    assert (light.batches, large.batches) == ([[3]], [[3]])


def test_identical_rows_of_one_request_run_once() -> None:
    light, large = cascade()

    async def use(engine: Engine) -> None:
        assert values(await engine.answer(ask(3, 3, 2))) == [103, 103, 2]

    with_engine(use, serve_toy(light, large))
    assert light.batches == [[3, 2]]


def test_memory_answers_a_repeated_row_and_says_so() -> None:
    light, large = cascade()

    async def use(engine: Engine) -> None:
        await engine.answer(ask(3))
        again = (await engine.answer(ask(3))).answers[0]
        assert (again.stopped_by, again.cached, again.macs) == ("cache", True, 0)
        assert (again.outcome.exit, float(again.outcome.outputs["y"])) == ("large", 103)

    with_engine(use, serve_toy(light, large))
    assert len(light.batches) == 1


def test_no_cache_computes_afresh() -> None:
    light, large = cascade()

    async def use(engine: Engine) -> None:
        for _ in range(2):
            reply = await engine.answer(ask(2, no_cache=True))
            assert reply.answers[0].cached is False

    with_engine(use, serve_toy(light, large))
    assert len(light.batches) == 2


def test_a_route_that_does_not_remember_computes_afresh() -> None:
    light, large = cascade()

    async def use(engine: Engine) -> None:
        await engine.answer(ask(2))
        await engine.answer(ask(2))

    with_engine(use, serve_toy(light, large, is_cached=False))
    assert len(light.batches) == 2


def test_a_remembered_answer_under_the_minimum_confidence_is_a_miss() -> None:
    light, large = cascade()

    async def use(engine: Engine) -> None:
        sure = {"min_confidence": 0.95}  # above the toy's 0.9
        await engine.answer(ask(2, controls=sure))
        await engine.answer(ask(2, controls=sure))

    with_engine(use, serve_toy(light, large))
    assert len(light.batches) == 2


def test_tenants_and_controls_share_no_answers() -> None:
    light, large = cascade()

    async def use(engine: Engine) -> None:
        await engine.answer(ask(2))
        await engine.answer(ask(2, tenant="other"))
        await engine.answer(ask(2, controls={"beta": 1.0}))

    with_engine(use, serve_toy(light, large))
    assert len(light.batches) == 3


def test_drain_waits_for_every_call() -> None:
    gate = threading.Event()
    only = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def use(engine: Engine) -> None:
        task = asyncio.create_task(engine.answer(ask(1)))
        await until(lambda: len(only.batches) == 1)
        assert await engine.drain(0.01) is False
        gate.set()
        assert await engine.drain(5.0) is True
        assert values(await task) == [1]

    with_engine(use, serve_toy(only))


def test_drain_waits_for_calls_that_came_after_others_had_ended() -> None:
    gate = threading.Event()
    gate.set()
    only = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def use(engine: Engine) -> None:
        await engine.answer(ask(1))
        gate.clear()
        task = asyncio.create_task(engine.answer(ask(2)))
        await until(lambda: len(only.batches) == 2)
        assert await engine.drain(0.01) is False
        gate.set()
        assert await engine.drain(5.0) is True
        assert values(await task) == [2]

    with_engine(use, serve_toy(only))
