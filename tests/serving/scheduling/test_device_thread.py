"""The device's thread: rows that cannot share a batch, stages that raise what they should not."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from core.devices.onnx import OnnxDevice
from core.devices.torch import TorchDevice
from core.errors import StageFailed
from core.messages import Batch, Step
from serving.engine.engine import Engine
from serving.scheduling.device_thread import FAILED, run_batch
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block
from tests.fakes.toys import ToyStage, ask, final, serve_toy, with_engine


class Adding:
    """x, plus what an earlier step of the row left."""

    name = "adding"

    def run(self, rows: Batch) -> Sequence[Step]:
        left = rows.inputs.get("left", np.zeros(len(rows.inputs["x"])))
        return [final(float(x + y), self.name) for x, y in zip(rows.inputs["x"], left, strict=True)]


def make_block(lane: Lane, **inputs: Any) -> Block:
    columns = {name: np.asarray(value)[None] for name, value in inputs.items()}
    return Block(lane, None, range(1), columns, {}, None, 0.0, 0.0)


def run_rows(*inputs: Mapping[str, float]) -> list[float | None]:
    lane = serve_toy(Adding()).entry
    blocks = [make_block(lane, **row) for row in inputs]
    return [
        None if step.answer is None else float(step.answer.outputs["y"])
        for step in run_batch(OnnxDevice(), lane, blocks)
    ]


def test_a_row_keeps_its_inputs_whatever_its_companions_have() -> None:
    plain, carrying = {"x": 1.0}, {"x": 20.0, "left": 100.0}
    assert run_rows(plain, carrying, plain) == [1.0, 120.0, 1.0]
    assert run_rows(carrying, plain) == [120.0, 1.0]


def test_a_row_without_an_input_that_its_stage_needs_fails_alone() -> None:
    assert run_rows({"x": 1.0}, {"left": 1.0}, {"x": 2.0}) == [1.0, None, 2.0]


def test_a_stage_that_must_not_run_twice_on_a_row_fails_its_batch_at_once() -> None:
    class Once(ToyStage):
        repeatable = False

    def step(value: float) -> Step:
        if value == 13:
            raise ValueError("a row that no stage can run")
        return final(value, "only")

    once, twice = Once("only", step), ToyStage("only", step)
    for stage, batches, failed in ((once, 1, 4), (twice, 5, 1)):
        lane = serve_toy(stage).entry
        block = Block(lane, None, range(4), {"x": np.array([1.0, 13, 2, 3])}, {}, None, 0.0, 0.0)
        steps = run_batch(OnnxDevice(), lane, [block])
        assert (len(stage.batches), list(steps).count(FAILED)) == (batches, failed)


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


def test_a_faulty_row_fails_alone_whatever_arrays_its_runtime_has() -> None:
    """Numpy can read neither tensors of this type nor those on a GPU."""

    def step(value: float) -> Step:
        if value == 13:
            raise ValueError("a row that no stage can run")
        return final(value, "only")

    lane = serve_toy(ToyStage("only", step)).entry
    column = torch.tensor([1.0, 13.0, 2.0], dtype=torch.bfloat16)
    block = Block(lane, None, range(3), {"x": column}, {}, None, 0.0, 0.0)
    steps = list(run_batch(TorchDevice(), lane, [block]))
    assert [step.answer is None for step in steps] == [False, True, False]


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
    block = make_block(lane, x=1.0, text=value)
    assert list(run_batch(OnnxDevice(), lane, [block])) == [FAILED]
    (record,) = caplog.records
    assert record.getMessage().startswith("stage only failed: ValueError")
    assert ("my words" in record.getMessage()) is is_told
    assert "\n" not in record.getMessage()
