"""The engine against toy pipelines: batching, single flight, memory, deadlines, failures,
cancellation.
"""

import asyncio
import threading
import time

import pytest

from core.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    SparingError,
    StageFailed,
    UnknownRoute,
)
from core.messages import Reply, Step
from serving.engine import Engine
from tests.toys import ToyStage, ask, final, onward, outcome, serve_toy, until, with_engine


def values(reply: Reply) -> list[float]:
    return [float(answer.outcome.outputs["y"]) for answer in reply.answers]


def cascade(gate: threading.Event | None = None) -> tuple[ToyStage, ToyStage]:
    """Even numbers stop at the light stage; odd ones go on to the large one, which adds 100."""
    light = ToyStage(
        "light", lambda x: final(x, "light") if x % 2 == 0 else onward(x, "light", "large")
    )
    large = ToyStage("large", lambda x: final(x + 100, "large"), gate=gate)
    return light, large


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
        assert (again.stopped_by, again.cached, again.macs) == ("memory", True, 0)
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

    with_engine(use, serve_toy(light, large, remembers=False))
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


def test_identical_rows_take_the_room_and_the_time_of_one() -> None:
    light, large = cascade()
    route = serve_toy(light, large)
    route.entry.times.calibrate(0.1, 3.2, 32)

    async def use(engine: Engine) -> None:
        reply = await engine.answer(ask(*[2.0] * 100, deadline=time.monotonic() + 2.0))
        assert values(reply) == [2.0] * 100

    with_engine(use, route, max_queued_rows=8)


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
