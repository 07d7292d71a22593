"""NaN and infinities are the caller's fault where the route's inputs say `finite = true`."""

import numpy as np
import pytest

from core.errors import InvalidInput
from monitoring.metrics.collector import Metrics
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from tests.fakes.toys import ToyPipeline, ToyStage, ask, final, toy_manifest, with_engine


def serve(*, finite: bool, datatype: str = "FP64") -> ServedRoute:
    stage = ToyStage("one", lambda value: final(value, "one"))
    table = toy_manifest(["one"]).model_dump()
    table["inputs"] = [{"name": "x", "datatype": datatype, "shape": [-1], "finite": finite}]
    manifest = toy_manifest(["one"]).model_validate(table)
    pipeline = ToyPipeline("one", {"one": stage})
    return ServedRoute(manifest, pipeline, Metrics().add_route("toy", ["one"]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_row_that_is_not_finite_is_named(value: float) -> None:
    async def use(engine: Engine) -> None:
        with pytest.raises(InvalidInput, match=r"inputs\.x: row 2 has NaN or an infinity"):
            await engine.answer(ask(0.0, 1.0, value, value))
        assert (await engine.answer(ask(0.0, 1.0))).answers[1].outcome.confidence == 0.9

    with_engine(use, serve(finite=True))


def test_a_route_that_does_not_say_so_takes_them() -> None:
    async def use(engine: Engine) -> None:
        assert len((await engine.answer(ask(0.0, np.inf))).answers) == 2

    with_engine(use, serve(finite=False))


def test_only_inputs_of_floats_may_say_so() -> None:
    with pytest.raises(ValueError, match="given for UINT8, allowed for FP16, FP32 and FP64"):
        serve(finite=True, datatype="UINT8")
    table = toy_manifest(["one"]).model_dump()
    table["outputs"] = [{"name": "y", "datatype": "FP64", "shape": [-1], "finite": True}]
    with pytest.raises(ValueError, match=r"outputs\.y\.finite"):
        toy_manifest(["one"]).model_validate(table)
