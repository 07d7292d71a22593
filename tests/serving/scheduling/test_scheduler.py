"""Turn-taking: who is due when, what a released or failed row leaves behind, and that nothing stops
the lanes.
"""

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from core.errors import StageFailed
from core.messages import Next, Reply, Step
from harness.waiting import until
from monitoring.energy.rate import EnergyRate
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from tests.fakes.toys import (
    CountingHandle,
    ToyPipeline,
    ToyStage,
    ask,
    final,
    onward,
    outcome,
    serve_toy,
    toy_manifest,
    with_engine,
)


class Counts:
    """Route metrics that keep escalations, and whose counting of batches can break."""

    energy = EnergyRate()
    generation = None

    def __init__(self, broken: bool = False) -> None:
        self.escalated: list[int] = []
        self._broken = broken

    def count_rows(
        self, exit: str, stopped_by: str, latency_s: float, rows: int = 1, full_macs: int = 0
    ) -> None:
        pass

    def count_batch(
        self, stage: str, rows: int, queue_s: Sequence[tuple[float, int]], run_s: float
    ) -> None:
        if self._broken:
            raise KeyError(stage)

    def add_exemplar(self, exit: str, latency_s: float, trace: str) -> None:
        raise AssertionError(trace)

    def count_escalation(self, stage: str, rows: int) -> None:
        self.escalated.append(rows)

    def count_cost(self, exit: str, device_s: float, macs: int) -> None:
        pass


def serve_counted(counts: Counts) -> ServedRoute:
    stages = {
        "light": ToyStage("light", lambda x: onward(x, "light", "large")),
        "large": ToyStage("large", lambda x: final(x, "large")),
    }
    return ServedRoute(toy_manifest(list(stages)), ToyPipeline("light", stages), counts)


def test_a_far_deadline_does_not_put_a_row_behind_those_without_one() -> None:
    gate = threading.Event()
    only = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def use(engine: Engine) -> None:
        tasks = [asyncio.create_task(engine.answer(ask(0)))]
        await until(lambda: len(only.batches) == 1)
        far = time.monotonic() + 60.0
        tasks.append(asyncio.create_task(engine.answer(ask(1, deadline=far))))
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(engine.answer(ask(value))) for value in (2, 3)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks)

    with_engine(use, serve_toy(only, max_batch=1))
    assert only.batches == [[0], [1], [2], [3]]


def test_a_follower_hastens_a_row_that_is_on_the_device() -> None:
    gate = threading.Event()
    order: list[str] = []

    def light_step(value: float) -> Step:
        order.append(f"light {value:g}")
        return onward(value, "light", "large")

    def large_step(value: float) -> Step:
        order.append(f"large {value:g}")
        return final(value, "large")

    light = ToyStage("light", light_step, gate=gate)

    async def use(engine: Engine) -> None:
        leader = asyncio.create_task(engine.answer(ask(1)))
        await until(lambda: len(light.batches) == 1)
        soon = time.monotonic() + 20.0
        follower = asyncio.create_task(engine.answer(ask(1, deadline=soon)))
        other = asyncio.create_task(engine.answer(ask(2, deadline=soon + 5.0)))
        await until(lambda: engine.catalog.resolve("toy", None).entry.rows == 1)
        gate.set()
        await asyncio.gather(leader, follower, other)

    with_engine(use, serve_toy(light, ToyStage("large", large_step)), patience_s=300.0)
    assert order == ["light 1", "large 1", "light 2", "large 2"]


def test_a_row_released_when_its_batch_is_taken_leaves_no_state() -> None:
    handles: list[CountingHandle] = []

    def step(value: float) -> Step:
        handles.append(CountingHandle(value, 10))
        goes_on = Next("second", {"x": np.asarray(value)}, handles[-1])
        return Step(1, outcome(value, "first"), goes_on)

    second = ToyStage("second", lambda x: final(x, "second"))
    route = serve_toy(ToyStage("first", step), second, row_bytes=lambda _: 10)
    route.lanes["second"].times.calibrate(0.5, 16.0, 32)  # in time alone, too late among twenty

    async def use(engine: Engine) -> None:
        deadline = time.monotonic() + 5.0
        hurried = asyncio.create_task(engine.answer(ask(0, deadline=deadline)))
        await asyncio.gather(*(engine.answer(ask(value)) for value in range(1, 20)))
        assert (await hurried).answers[0].stopped_by == "deadline"
        assert engine.schedulers.state_bytes() == 0

    with_engine(use, route)
    assert [handle.freed for handle in handles] == [1] * 20


def test_a_row_released_before_its_next_stage_is_no_escalation() -> None:
    counts = Counts()
    route = serve_counted(counts)
    route.lanes["large"].times.calibrate(5.0, 5.0, 32)

    async def use(engine: Engine) -> None:
        await engine.answer(ask(1, deadline=time.monotonic() + 1.0))
        assert counts.escalated == []
        await engine.answer(ask(2))
        assert counts.escalated == [1]

    with_engine(use, route)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_counting_that_breaks_stops_no_lane() -> None:
    async def use(engine: Engine) -> None:
        for value in (1, 2):
            assert isinstance(await asyncio.wait_for(engine.answer(ask(value)), 5.0), Reply)

    with_engine(use, serve_counted(Counts(broken=True)))


def test_a_state_that_cannot_be_freed_stops_no_lane(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(CountingHandle):
        def free(self) -> None:
            raise RuntimeError("the device is gone")

    def step(value: float) -> Step:
        confidence = 5.0 if value == 13 else 0.5
        goes_on = Next("second", {"x": np.asarray(value)}, Stuck(value, 10))
        return Step(1, outcome(value, "first", confidence), goes_on)

    second = ToyStage("second", lambda x: final(x, "second"))
    route = serve_toy(ToyStage("first", step), second, row_bytes=lambda _: 10)

    async def use(engine: Engine) -> None:
        for _ in range(2):
            got = await asyncio.gather(
                *(engine.answer(ask(value)) for value in (13, 2)), return_exceptions=True
            )
            assert isinstance(got[0], StageFailed)
            assert isinstance(got[1], Reply)
        assert engine.schedulers.state_bytes() == 0

    with_engine(use, route)
    assert "could not be freed" in caplog.text
