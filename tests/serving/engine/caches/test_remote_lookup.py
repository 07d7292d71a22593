"""The engine with a second tier that processes share: what is asked, what waits, what is kept."""

import asyncio
import threading
import time

import pytest

from cache.local_cache import LocalCache
from core.errors import DeadlineExceeded, Overloaded
from harness.services.redis_server import RedisServer
from harness.waiting import until
from serving.engine.caches.remote_lookup import MAX_KEYS
from tests.fakes.clock import Clock
from tests.fakes.toys import (
    ToyStage,
    ask,
    cascade,
    final,
    serve_toy,
    values,
)
from tests.serving.alike import ALWAYS, CornerStage, alter, make_picture, serve_alike, show
from tests.serving.tiers import Process, make_dear, stored, with_processes


def test_another_process_answers_from_the_second_tier_and_then_from_its_own_memory(
    redis: RedisServer,
) -> None:
    stages = [cascade(), cascade()]

    async def use(first: Process, second: Process) -> None:
        assert values(await first.engine.answer(ask(2, 3))) == [2, 103]
        await stored(first, 2)
        for answer in (await second.engine.answer(ask(3, 2))).answers:
            assert (answer.stopped_by, answer.cached, answer.macs) == ("cache", True, 0)
        answers = (await second.engine.answer(ask(3, 2))).answers
        assert [float(answer.outcome.outputs["y"]) for answer in answers] == [103, 2]
        assert [answer.outcome.exit for answer in answers] == ["large", "light"]
        assert [answer.outcome.confidence for answer in answers] == [0.9, 0.9]
        counts = second.remote.counts()
        assert (counts.hits, counts.lookups) == (2, 1)
        assert counts.stores == counts.pending_bytes == 0  # not written back

    with_processes(
        use, *(lambda own=own: Process(redis.url, make_dear(serve_toy(*own))) for own in stages)
    )
    assert (stages[1][0].batches, stages[1][1].batches) == ([], [])


def test_rows_that_wait_together_are_asked_for_in_one_look_up(redis: RedisServer) -> None:
    async def use(process: Process) -> None:
        await asyncio.gather(*(process.engine.answer(ask(value)) for value in range(MAX_KEYS)))
        assert process.remote.counts().lookups == 1
        await process.engine.answer(ask(*range(1000, 1000 + 2 * MAX_KEYS)))
        assert process.remote.counts().lookups == 3

    with_processes(use, lambda: Process(redis.url, make_dear(serve_toy(*cascade()))))


def test_an_answer_below_the_confidence_asked_for_is_computed(redis: RedisServer) -> None:
    stages = [cascade(), cascade()]

    async def use(first: Process, second: Process) -> None:
        await first.engine.answer(ask(2, controls={"min_confidence": 0.95}))
        await stored(first, 1)
        again = (await second.engine.answer(ask(2, controls={"min_confidence": 0.95}))).answers[0]
        assert not again.cached
        assert second.remote.counts().hits == 1

    with_processes(
        use, *(lambda own=own: Process(redis.url, make_dear(serve_toy(*own))) for own in stages)
    )
    assert stages[1][0].batches == [[2]]


def test_a_row_nobody_waits_for_is_not_computed_after_its_look_up(redis: RedisServer) -> None:
    light, large = cascade()
    served = make_dear(serve_toy(light, large))

    async def use(process: Process) -> None:
        redis.pause()
        asking = asyncio.create_task(process.engine.answer(ask(3)))
        await until(lambda: served.entry.looked_up == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        redis.resume()
        await until(lambda: served.entry.looked_up == 0)
        assert values(await process.engine.answer(ask(5))) == [105]
        assert process.engine.under_way.flights == {}

    with_processes(use, lambda: Process(redis.url, served))
    assert light.batches == [[5]]


def test_who_joins_a_row_during_its_look_up_is_answered_though_the_first_has_gone(
    redis: RedisServer,
) -> None:
    light, large = cascade()
    served = make_dear(serve_toy(light, large))

    async def use(process: Process) -> None:
        redis.pause()
        first, second = [asyncio.create_task(process.engine.answer(ask(3))) for _ in range(2)]
        await until(lambda: served.entry.looked_up == 1)
        first.cancel()
        redis.resume()
        assert values(await second) == [103]

    with_processes(use, lambda: Process(redis.url, served))
    assert light.batches == [[3]]


def test_a_deadline_that_comes_during_the_look_up_is_kept_for_him_alone(
    redis: RedisServer,
) -> None:
    served = make_dear(serve_toy(*cascade()))

    async def use(process: Process) -> None:
        redis.pause()
        patient = asyncio.create_task(process.engine.answer(ask(3)))
        await until(lambda: served.entry.looked_up == 1)
        with pytest.raises(DeadlineExceeded):
            await process.engine.answer(ask(3, deadline=time.monotonic() + 0.05))
        redis.resume()
        assert values(await patient) == [103]

    with_processes(use, lambda: Process(redis.url, served))


def test_a_row_without_time_for_a_timeout_is_not_asked_for(redis: RedisServer) -> None:
    served = make_dear(serve_toy(*cascade()))

    async def use(process: Process) -> None:
        redis.pause()
        reply = await process.engine.answer(ask(3, deadline=time.monotonic() + 1.0))
        assert values(reply) == [103]
        redis.resume()
        assert process.remote.counts().lookups == process.remote.counts().misses == 0

    with_processes(use, lambda: Process(redis.url, served, timeout_s=2.0))


def test_a_row_hastened_during_its_look_up_goes_first_afterwards(redis: RedisServer) -> None:
    gate = threading.Event()
    stage = ToyStage("only", lambda value: final(value, "only"), gate=gate)
    served = make_dear(serve_toy(stage, max_batch=1))

    async def use(process: Process) -> None:
        blocker = asyncio.create_task(process.engine.answer(ask(1, no_cache=True)))
        await until(lambda: stage.batches == [[1]])
        redis.pause()
        tasks = [asyncio.create_task(process.engine.answer(ask(value))) for value in (2, 3)]
        await until(lambda: served.entry.looked_up == 2)
        soon = time.monotonic() + 4.0  # before the others are due
        tasks.append(asyncio.create_task(process.engine.answer(ask(3, deadline=soon))))
        await asyncio.sleep(0)
        redis.resume()
        await until(lambda: served.entry.rows == 2)
        gate.set()
        await asyncio.gather(blocker, *tasks)

    with_processes(use, lambda: Process(redis.url, served, patience_s=30.0))
    assert stage.batches == [[1], [3], [2]]


def test_rows_at_the_look_up_count_as_waiting(redis: RedisServer) -> None:
    served = make_dear(serve_toy(*cascade()))

    async def use(process: Process) -> None:
        redis.pause()
        waiting = asyncio.create_task(process.engine.answer(ask(1, 2, 3, 4)))
        await until(lambda: served.entry.looked_up == 4)
        with pytest.raises(Overloaded):
            await process.engine.answer(ask(5))
        redis.resume()
        assert values(await waiting) == [101, 2, 103, 4]

    with_processes(use, lambda: Process(redis.url, served, max_queued_rows=4))


def test_an_answer_cut_short_is_not_stored(redis: RedisServer) -> None:
    gate = threading.Event()
    served = make_dear(serve_toy(*cascade(gate)))

    async def use(process: Process) -> None:
        deadline = time.monotonic() + 0.5
        reply = await process.engine.answer(ask(3, deadline=deadline))
        assert reply.answers[0].stopped_by == "deadline"
        gate.set()
        await process.engine.answer(ask(2))
        await stored(process, 1)

    with_processes(use, lambda: Process(redis.url, served, timeout_s=0.05, reply_margin_s=0.2))
    assert len(redis.keys()) == 1


def test_another_digest_or_tenant_recalls_nothing(redis: RedisServer) -> None:
    old, new = cascade(), cascade()

    async def use(first: Process, second: Process) -> None:
        await first.engine.answer(ask(2))
        await stored(first, 1)
        for request in (ask(2), ask(2, version="1", tenant="other")):
            assert not (await second.engine.answer(request)).answers[0].cached
        assert (await second.engine.answer(ask(2, version="1"))).answers[0].cached

    def make_second() -> Process:
        versions = [serve_toy(*own, version=str(n)) for n, own in ((1, old), (2, new))]
        return Process(redis.url, *map(make_dear, versions))

    with_processes(use, lambda: Process(redis.url, make_dear(serve_toy(*cascade()))), make_second)


def test_the_first_tier_keeps_a_recalled_answer_no_longer_than_it_holds(
    redis: RedisServer,
) -> None:
    wall, clock = Clock(), Clock()
    local = LocalCache(1 << 20, clock=clock)
    served = make_dear(serve_toy(*cascade()))

    async def use(first: Process, second: Process) -> None:
        await first.engine.answer(ask(2))  # holds for the route's 3600 s
        await stored(first, 1)
        wall.now_s += 3000.0
        assert (await second.engine.answer(ask(2))).answers[0].cached
        clock.now_s += 599.0
        assert (await second.engine.answer(ask(2))).answers[0].cached
        clock.now_s += 1.0
        wall.now_s += 600.0
        assert not (await second.engine.answer(ask(2))).answers[0].cached
        assert (local.counts().hits, local.counts().expirations) == (1, 1)

    options = {"wall_clock": wall}
    with_processes(
        use,
        lambda: Process(redis.url, make_dear(serve_toy(*cascade())), remote=options),
        lambda: Process(redis.url, served, local=local, remote=options),
    )


def test_a_stream_is_answered_from_the_second_tier(redis: RedisServer) -> None:
    async def use(first: Process, second: Process) -> None:
        await first.engine.answer(ask(3))
        await stored(first, 1)
        replies = [reply async for reply in second.engine.infer(ask(3, stream=True))]
        assert [reply.answers[0].stopped_by for reply in replies] == ["cache"]
        assert replies[0].final

    with_processes(use, *[lambda: Process(redis.url, make_dear(serve_toy(*cascade())))] * 2)


def test_what_the_second_tier_knows_is_an_audits_verdict_and_teaches_likeness(
    redis: RedisServer,
) -> None:
    stages = [CornerStage(), CornerStage()]
    (elsewhere, _), (here, similar) = (serve_alike(stage, **ALWAYS) for stage in stages)
    picture = make_picture(1)

    async def use(first: Process, second: Process) -> None:
        await first.engine.answer(show(alter(picture, label=1)))
        await stored(first, 1)
        await second.engine.answer(show(picture))
        (answer,) = (await second.engine.answer(show(alter(picture, label=1)))).answers
        assert (answer.stopped_by, answer.similar) == ("cache", False)
        assert int(answer.outcome.outputs["label"]) == 101

    with_processes(
        use,
        lambda: Process(redis.url, make_dear(elsewhere)),
        lambda: Process(redis.url, make_dear(here)),
    )
    assert stages[1].labels == [100]
    assert (similar.counts.audits, similar.counts.wrong) == (1, 1)
    assert similar.memory.counts().stores == 2  # what was computed here, and what was recalled
