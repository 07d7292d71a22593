"""Rows that cost less than caching them are neither looked up nor stored."""

import asyncio
import tracemalloc

from core.devices.onnx import OnnxDevice
from core.manifest import Manifest
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from serving.warmup import measure_cache_row, warm_up
from tests.fakes.toys import ToyStage, ask, final, serve_toy, with_engine


def serve(cost_s: float | None, cache_row_s: float) -> tuple[ServedRoute, ToyStage]:
    stage = ToyStage("a", lambda value: final(value, "a"))
    served = serve_toy(stage)
    served.cache_row_s = cache_row_s
    if cost_s is not None:
        served.entry.row_cost.observe(100_000, 100_000 * cost_s)
    return served, stage


def count(served: ServedRoute, stage: ToyStage) -> tuple[int, int, int, int]:
    """Rows that ran, that were skipped, hits and stores, of three equal requests."""

    async def use(engine: Engine) -> tuple[int, int, int, int]:
        for _ in range(3):
            reply = await engine.answer(ask(1.0, 2.0))
            assert [answer.outcome.outputs["y"] for answer in reply.answers] == [1.0, 2.0]
        counts = engine.memory.counts()
        rows = sum(map(len, stage.batches))
        return rows, engine.cached_rows.skipped, counts.hits, counts.stores

    return with_engine(use, served)


def test_a_row_that_costs_less_is_computed_each_time() -> None:
    assert count(*serve(1e-6, 5e-6)) == (6, 6, 0, 0)


def test_nothing_is_skipped_where_nothing_is_cached() -> None:
    served, stage = serve(1e-6, 5e-6)
    served.is_cached = False
    assert count(served, stage) == (6, 0, 0, 0)


def test_a_row_that_costs_more_is_cached() -> None:
    assert count(*serve(9e-6, 5e-6)) == (2, 0, 4, 2)


def test_a_route_whose_cost_is_not_known_yet_is_cached() -> None:
    assert count(*serve(None, 5e-6)) == (2, 0, 4, 2)


def test_identical_cheap_rows_at_once_all_get_answers() -> None:
    served, _ = serve(1e-6, 5e-6)

    async def use(engine: Engine) -> None:
        replies = await asyncio.gather(*[engine.answer(ask(3.0)) for _ in range(20)])
        assert all(reply.answers[0].outcome.outputs["y"] == 3.0 for reply in replies)

    with_engine(use, served)


def test_warming_up_measures_what_caching_costs() -> None:
    served, _ = serve(None, 0.0)
    warm_up(served, OnnxDevice())
    assert served.cache_row_s > 0.0
    assert measure_cache_row(served) > 0.0


def test_measuring_what_caching_costs_needs_no_memory_for_many_large_rows() -> None:
    served, _ = serve(None, 0.0)
    facts = served.manifest.model_dump()
    facts["inputs"] = [{"name": "x", "datatype": "FP64", "shape": [-1, 2**21]}]
    served.manifest = Manifest.model_validate(facts)
    tracemalloc.start()
    try:
        assert measure_cache_row(served) > 0.0
        assert tracemalloc.get_traced_memory()[1] < 2**26  # of rows of 16 MiB
    finally:
        tracemalloc.stop()
