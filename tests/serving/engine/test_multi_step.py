"""A toy token generator proves state handles: rows keep state, stream, and join and leave between
steps.
"""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from core.devices.onnx import OnnxDevice
from core.errors import InvalidInput, StageFailed
from core.messages import Batch, Next, Outcome, Reply, Step
from harness.waiting import until
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from tests.fakes.toys import (
    CountingHandle,
    ask,
    serve_toy,
    with_engine,
)


class Decode:
    """Counts down from x, one token a step; the state holds the tokens so far."""

    name = "decode"

    def __init__(self, gate: threading.Event | None = None, state_bytes: int = 100) -> None:
        self.batches: list[list[float]] = []
        self.handles: list[CountingHandle] = []
        self._gate = gate
        self.state_bytes = state_bytes

    def run(self, rows: Batch) -> Sequence[Step]:
        left = [float(value) for value in rows.inputs["x"]]
        self.batches.append(left)
        if self._gate is not None:
            assert self._gate.wait(10.0)
        return [
            self._step(value, () if state is None or state.value is None else state.value)
            for value, state in zip(left, rows.states, strict=True)
        ]

    def _step(self, left: float, tokens: tuple[float, ...]) -> Step:
        tokens = (*tokens, left)
        answer = Outcome({"y": np.array(tokens)}, 0.9, self.name)
        if left <= 1:
            return Step(1, answer, None)
        handle = CountingHandle(tokens, self.state_bytes)
        self.handles.append(handle)
        return Step(1, answer, Next(self.name, {"x": np.asarray(left - 1)}, handle))


def tokens(reply: Reply) -> list[float]:
    return [float(token) for token in reply.answers[0].outcome.outputs["y"]]


def serve(stage: Decode) -> ServedRoute:
    return serve_toy(stage, row_bytes=lambda _: stage.state_bytes)


def all_freed_once(stage: Decode) -> bool:
    return bool(stage.handles) and all(handle.freed == 1 for handle in stage.handles)


def test_state_goes_from_step_to_step_and_is_freed_once() -> None:
    stage = Decode()

    async def use(engine: Engine) -> None:
        reply = await engine.answer(ask(4))
        assert tokens(reply) == [4, 3, 2, 1]
        assert reply.answers[0].macs == 4
        assert engine.schedulers.state_bytes() == 0

    with_engine(use, serve(stage))
    assert all_freed_once(stage)


def test_a_stream_gets_every_steps_answer_and_the_last_is_final() -> None:
    async def use(engine: Engine) -> None:
        replies = [reply async for reply in engine.infer(ask(3, stream=True))]
        assert [tokens(reply) for reply in replies] == [[3], [3, 2], [3, 2, 1]]
        assert [reply.final for reply in replies] == [False, False, True]
        stopped_by = [reply.answers[0].stopped_by for reply in replies]
        assert stopped_by == ["", "", "last_stage"]  # those that go on were stopped by nothing

    with_engine(use, serve(Decode()))


def test_a_unary_request_gets_the_last_answer_only() -> None:
    async def use(engine: Engine) -> None:
        replies = [reply async for reply in engine.infer(ask(3))]
        assert [tokens(reply) for reply in replies] == [[3, 2, 1]]

    with_engine(use, serve(Decode()))


def test_a_remembered_answer_streams_as_one_final_reply() -> None:
    async def use(engine: Engine) -> None:
        await engine.answer(ask(3))
        replies = [reply async for reply in engine.infer(ask(3, stream=True))]
        assert [(tokens(reply), reply.final) for reply in replies] == [([3, 2, 1], True)]

    with_engine(use, serve(Decode()))


def test_rows_join_and_leave_batches_between_steps() -> None:
    gate = threading.Event()
    stage = Decode(gate)

    async def use(engine: Engine) -> None:
        long = asyncio.create_task(engine.answer(ask(4)))
        await until(lambda: len(stage.batches) == 1)
        short = asyncio.create_task(engine.answer(ask(2)))
        await asyncio.sleep(0)
        gate.set()
        assert tokens(await short) == [2, 1]
        assert tokens(await long) == [4, 3, 2, 1]

    with_engine(use, serve(stage))
    assert [sorted(batch) for batch in stage.batches] == [[4], [2, 3], [1, 2], [1]]


def test_states_of_an_abandoned_stream_are_freed() -> None:
    gate = threading.Event()
    stage = Decode(gate)

    async def use(engine: Engine) -> None:
        gate.set()
        replies = engine.infer(ask(1000, stream=True))
        assert tokens(await anext(replies)) == [1000]
        await replies.aclose()  # type: ignore[attr-defined]  # an async generator
        await until(lambda: engine.schedulers.state_bytes() == 0)

    with_engine(use, serve(stage))
    assert len(stage.batches) < 1000
    assert all_freed_once(stage)


def test_rows_wait_for_memory_and_none_fails_in_the_middle() -> None:
    stage = Decode(state_bytes=100)

    async def use(engine: Engine) -> None:
        replies = await asyncio.gather(*[engine.answer(ask(value)) for value in (3, 4, 2)])
        assert [tokens(reply) for reply in replies] == [[3, 2, 1], [4, 3, 2, 1], [2, 1]]
        assert engine.schedulers.state_bytes() == 0

    with_engine(use, serve(stage), devices=[OnnxDevice(150)])
    assert stage.batches == [[3], [2], [1], [4], [3], [2], [1], [2], [1]]
    assert all_freed_once(stage)


def test_a_row_that_can_never_fit_is_refused_before_it_costs_anything() -> None:
    stage = Decode(state_bytes=200)

    async def use(engine: Engine) -> None:
        with pytest.raises(InvalidInput, match="row 0 may need 200 bytes of state"):
            await engine.answer(ask(3, 4))
        with pytest.raises(InvalidInput, match="has 150 for all rows together"):
            async for _ in engine.infer(ask(3, stream=True)):
                pass

    with_engine(use, serve(stage), devices=[OnnxDevice(150)])
    assert stage.batches == []


def test_a_stage_that_returns_more_than_declared_fails_its_row() -> None:
    stage = Decode(state_bytes=100)
    route = serve_toy(stage, row_bytes=lambda value: 100 if value < 4 else 99)

    async def use(engine: Engine) -> None:
        got = await asyncio.gather(
            engine.answer(ask(3)), engine.answer(ask(4)), return_exceptions=True
        )
        assert isinstance(got[0], Reply)
        assert isinstance(got[1], StageFailed)
        assert "a larger state than its pipeline declares" in str(got[1])
        assert engine.schedulers.state_bytes() == 0

    with_engine(use, route)
    assert all_freed_once(stage)


def test_a_declaration_that_fails_fails_the_request() -> None:
    async def use(engine: Engine) -> None:
        for value in (1, 2):
            with pytest.raises(StageFailed, match="route 'toy' failed on this input"):
                await engine.answer(ask(value))

    def declare(value: float) -> int:
        if value == 1:
            raise ValueError("a fault of the pipeline")
        return -1

    with_engine(use, serve_toy(Decode(), row_bytes=declare))
