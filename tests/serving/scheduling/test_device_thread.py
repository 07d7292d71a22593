"""The device's thread: rows that cannot share a batch, stages that raise what they should not."""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from core.devices import CpuDevice
from core.errors import StageFailed
from core.messages import Batch, Step
from serving.engine.engine import Engine
from serving.scheduling.device_thread import FAILED, run_batch
from serving.scheduling.lanes import Flight
from tests.fakes.toys import ToyStage, ask, final, serve_toy, with_engine


class Adding:
    """x, plus what an earlier step of the row left."""

    name = "adding"

    def run(self, rows: Batch) -> Sequence[Step]:
        left = rows.inputs.get("left", np.zeros(len(rows.inputs["x"])))
        return [final(float(x + y), self.name) for x, y in zip(rows.inputs["x"], left, strict=True)]


def run_rows(*inputs: Mapping[str, float]) -> list[float | None]:
    lane = serve_toy(Adding()).entry
    flights = [
        Flight(lane, {name: np.asarray(value) for name, value in row.items()}, {}, None, 0.0, 0.0)
        for row in inputs
    ]
    return [
        None if step is FAILED or step.answer is None else float(step.answer.outputs["y"])
        for step in run_batch(CpuDevice(), lane, flights)
    ]


def test_a_row_keeps_its_inputs_whatever_its_companions_have() -> None:
    plain, carrying = {"x": 1.0}, {"x": 20.0, "left": 100.0}
    assert run_rows(plain, carrying, plain) == [1.0, 120.0, 1.0]
    assert run_rows(carrying, plain) == [120.0, 1.0]


def test_a_row_without_an_input_that_its_stage_needs_fails_alone() -> None:
    assert run_rows({"x": 1.0}, {"left": 1.0}, {"x": 2.0}) == [1.0, None, 2.0]


def test_a_stage_that_panics_fails_its_row_and_the_thread_goes_on() -> None:
    class Panic(BaseException):
        """As native extensions raise it: no Exception."""

    def step(value: float) -> Step:
        if value == 13:
            raise Panic
        return final(value, "only")

    async def use(engine: Engine) -> None:
        with pytest.raises(StageFailed):
            await asyncio.wait_for(engine.answer(ask(13)), 5.0)
        assert (await engine.answer(ask(2))).answers[0].outcome.exit == "only"

    with_engine(use, serve_toy(ToyStage("only", step)))


@pytest.mark.parametrize(
    ("value", "is_told"),
    [
        (np.asarray(1.0), True),
        (np.asarray(b"my words", dtype=object), False),
        (np.asarray("my words"), False),
    ],
)
def test_what_a_runtime_quotes_of_a_callers_text_is_not_logged(
    value: np.ndarray, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def step(_value: float) -> Step:
        raise ValueError("cannot read 'my words'\n")

    lane = serve_toy(ToyStage("only", step)).entry
    flight = Flight(lane, {"x": np.asarray(1.0), "text": value}, {}, None, 0.0, 0.0)
    assert run_batch(CpuDevice(), lane, [flight]) == [FAILED]
    (record,) = caplog.records
    assert record.getMessage().startswith("stage only failed: ValueError")
    assert ("my words" in record.getMessage()) is is_told
    assert "\n" not in record.getMessage()
