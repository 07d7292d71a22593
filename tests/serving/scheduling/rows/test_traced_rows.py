"""What is noted of a followed request on its way through memory, lanes and stages."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from core.errors import StageFailed
from core.messages import Reply, Request
from harness.services.redis_server import RedisServer
from harness.waiting import until
from monitoring.tracing.traces import SampledTrace, TracedSpan
from serving.engine.engine import Engine
from serving.engine.traced_requests import follow
from tests.fakes.toys import (
    ToyStage,
    ask,
    cascade,
    final,
    serve_toy,
    with_engine,
)
from tests.serving.tiers import Process, make_dear, stored, with_processes


def start() -> SampledTrace:
    return SampledTrace(1, None, lambda _: None)


async def answer(engine: Engine, request: Request, trace: SampledTrace) -> Reply:
    return await engine.answer(request, follow(trace, engine.admit(request)))


def names(trace: SampledTrace) -> list[str]:
    return [note.name for note in trace.spans]


def find(trace: SampledTrace, name: str) -> Sequence[TracedSpan]:
    return [note for note in trace.spans if note.name == name]


def test_an_escalated_row_waits_and_runs_twice_in_this_order() -> None:
    async def use(engine: Engine) -> None:
        trace = start()
        await answer(engine, ask(3), trace)
        assert names(trace) == [
            "decode", "cache", "queue", "stage light", "queue", "stage large",
        ]  # fmt: skip
        for earlier, later in zip(trace.spans, trace.spans[1:], strict=False):
            assert earlier.began <= earlier.ended
            assert earlier.began <= later.began
        assert trace.spans[2].attributes == {"stage": "light", "rows": 1}
        assert trace.spans[3].attributes == {"stage": "light", "rows": 1, "batch_rows": 1}
        assert trace.attributes == {"route": "toy", "version": "1", "rows": 1}

    with_engine(use, serve_toy(*cascade()))


def test_rows_that_share_a_batch_are_one_note() -> None:
    async def use(engine: Engine) -> None:
        trace = start()
        await answer(engine, ask(1, 2, 3, 4), trace)
        (light,), (large,) = find(trace, "stage light"), find(trace, "stage large")
        assert light.attributes == {"stage": "light", "rows": 4, "batch_rows": 4}
        assert large.attributes == {"stage": "large", "rows": 2, "batch_rows": 2}
        assert len(find(trace, "queue")) == 2

    with_engine(use, serve_toy(*cascade()))


def test_a_row_from_memory_ran_nowhere() -> None:
    async def use(engine: Engine) -> None:
        await engine.answer(ask(3))
        trace = start()
        request = ask(3)
        admitted = follow(trace, engine.admit(request))
        assert engine.answer_from_cache(request, admitted) is not None
        assert names(trace) == ["decode", "cache"]
        assert trace.spans[1].attributes == {"tier": 1, "rows": 1, "hits": 1}

    with_engine(use, serve_toy(*cascade()))


def test_memory_that_is_asked_twice_is_one_note() -> None:
    async def use(engine: Engine) -> None:
        trace = start()
        request = ask(2)
        admitted = follow(trace, engine.admit(request))
        assert engine.answer_from_cache(request, admitted) is None
        await engine.answer(request, admitted)
        (memory,) = find(trace, "cache")
        assert memory.attributes == {"tier": 1, "rows": 1, "hits": 0}

    with_engine(use, serve_toy(*cascade()))


def test_others_in_the_batch_are_counted_and_nobody_elses_notes_change() -> None:
    gate = threading.Event()
    stage = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def use(engine: Engine) -> None:
        followed, other = start(), start()
        running = asyncio.create_task(answer(engine, ask(1), other))
        await until(lambda: bool(stage.batches))
        asking = [asyncio.create_task(engine.answer(ask(value))) for value in (2, 3)]
        asking.append(asyncio.create_task(answer(engine, ask(4), followed)))
        await until(lambda: engine.catalog.resolve("toy", None).entry.rows == 3)
        gate.set()
        await asyncio.gather(running, *asking)
        (note,) = find(followed, "stage only")
        assert note.attributes == {"stage": "only", "rows": 1, "batch_rows": 3}
        assert len(find(other, "stage only")) == 1
        (queue,) = find(followed, "queue")
        assert queue.ended - queue.began > 0

    with_engine(use, serve_toy(stage))


def test_a_call_that_joins_a_row_under_way_notes_nothing_from_before() -> None:
    gate = threading.Event()
    stage = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def use(engine: Engine) -> None:
        first, second = start(), start()
        running = asyncio.create_task(answer(engine, ask(1), first))
        await until(lambda: bool(stage.batches))
        second = start()
        joining = asyncio.create_task(answer(engine, ask(1), second))
        await until(lambda: "cache" in names(second))
        gate.set()
        await asyncio.gather(running, joining)
        assert len(stage.batches) == 1
        for trace in (first, second):
            (note,) = find(trace, "stage only")
            assert note.began >= trace.began

    with_engine(use, serve_toy(stage))


def test_a_stream_is_followed_as_well() -> None:
    async def use(engine: Engine) -> None:
        trace = start()
        request = ask(3, stream=True)
        replies = engine.infer(request, follow(trace, engine.admit(request)))
        assert [reply.final async for reply in replies] == [False, True]
        assert names(trace)[-2:] == ["queue", "stage large"]

    with_engine(use, serve_toy(*cascade()))


def test_a_failed_stage_has_run_too() -> None:
    def fail(_value: float) -> object:
        raise RuntimeError

    stage = ToyStage("only", fail)  # type: ignore[arg-type]

    async def use(engine: Engine) -> None:
        trace = start()
        with pytest.raises(StageFailed):
            await answer(engine, ask(1), trace)
        assert names(trace)[-1] == "stage only"

    with_engine(use, serve_toy(stage))


def test_a_look_up_in_the_second_tier_is_a_note_with_its_hits(redis: RedisServer) -> None:
    stages = [cascade(), cascade()]

    async def use(first: Process, second: Process) -> None:
        missed, found = start(), start()
        await answer(first.engine, ask(2), missed)
        await stored(first, 1)
        await answer(second.engine, ask(2), found)
        for trace, hits in ((missed, 0), (found, 1)):
            own, shared = find(trace, "cache")
            assert own.attributes == {"tier": 1, "rows": 1, "hits": 0}
            assert shared.attributes == {"tier": 2, "rows": 1, "hits": hits}
        assert "stage light" in names(missed)
        assert "stage light" not in names(found)

    with_processes(
        use, *(lambda own=own: Process(redis.url, make_dear(serve_toy(*own))) for own in stages)
    )
