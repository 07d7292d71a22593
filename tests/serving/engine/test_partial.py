"""A row that fails: with `partial` it ends alone, without it the error names it."""

import json
import math

import pytest

from core.errors import StageFailed
from core.messages import Step
from serving.engine.engine import Engine
from serving.oip.outputs import output_tensors, response_parameters
from tests.fakes.toys import ToyStage, ask, final, serve_toy, with_engine


def step(value: float) -> Step:
    if value == 13:
        raise ValueError("a row that no stage can run")
    return final(value, "only")


def test_the_other_rows_are_answered_and_the_error_stands_in_the_parameters() -> None:
    served = serve_toy(ToyStage("only", step))

    async def use(engine: Engine) -> None:
        reply = await engine.answer(ask(1, 13, 2, 13, partial=True))
        y, stopped_by = output_tensors(reply, served.manifest, ["y", "stopped_by"])
        assert y.array[[0, 2]].tolist() == [1, 2]
        assert all(math.isnan(value) for value in y.array[[1, 3]])
        words = [b"last_stage", b"failed", b"last_stage", b"failed"]
        assert stopped_by.array.tolist() == words
        errors = json.loads(response_parameters(reply)["errors"])
        assert set(errors) == {"1", "3"} and "failed on this input" in errors["1"]

    with_engine(use, served)


def test_without_it_the_request_fails_and_its_good_rows_are_kept() -> None:
    stage = ToyStage("only", step)

    async def use(engine: Engine) -> None:
        with pytest.raises(StageFailed, match=r"^row 1: stage only failed on this input$"):
            await engine.answer(ask(1, 13, 2))
        stage.batches.clear()
        assert [one.cached for one in (await engine.answer(ask(1, 2))).answers] == [True, True]
        assert not stage.batches

    with_engine(use, serve_toy(stage))


def test_a_request_of_which_all_rows_fail_is_answered_too() -> None:
    async def use(engine: Engine) -> None:
        reply = await engine.answer(ask(13, partial=True))
        assert [one.stopped_by for one in reply.answers] == ["failed"]
        assert "errors" not in response_parameters(await engine.answer(ask(3, partial=True)))

    with_engine(use, serve_toy(ToyStage("only", step)))
