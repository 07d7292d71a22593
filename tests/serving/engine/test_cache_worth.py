"""The local cache of a route is used for all rows only where it saves more than it costs."""

import pytest

from core.messages import Request
from serving.engine.cache_worth import SAMPLED, CacheWorth, is_in_sample
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from tests.fakes.toys import ToyStage, ask, final, serve_toy, with_engine

ROW_S, CACHE_S = 100e-6, 5e-6  # it pays from a hit rate of 5 % on
MANY = 20_000


def observe(worth: CacheWorth, hit_rate: float, rows: int = MANY) -> CacheWorth:
    for _ in range(rows // 100):
        worth.observe(100, round(100 * hit_rate))
    return worth


def test_without_evidence_everything_is_cached() -> None:
    assert observe(CacheWorth(), 0.0, 4000).pays(ROW_S, CACHE_S)


@pytest.mark.parametrize(("hit_rate", "pays"), [(0.0, False), (0.02, False), (0.06, True)])
def test_it_pays_by_what_it_saves(hit_rate: float, pays: bool) -> None:
    assert observe(CacheWorth(), hit_rate).pays(ROW_S, CACHE_S) is pays


def test_between_half_and_the_whole_cost_the_decision_stays() -> None:
    worth = observe(CacheWorth(), 0.04)
    assert worth.pays(ROW_S, CACHE_S)
    assert not observe(worth, 0.0).pays(ROW_S, CACHE_S)
    assert not observe(worth, 0.04).pays(ROW_S, CACHE_S)
    assert observe(worth, 0.06).pays(ROW_S, CACHE_S)


def test_it_notices_when_rows_begin_to_come_again() -> None:
    worth = observe(CacheWorth(), 0.0)
    assert not worth.pays(ROW_S, CACHE_S)
    assert observe(worth, 0.5, 2000).pays(ROW_S, CACHE_S)


def test_a_sample_is_one_request_in_so_many_and_always_the_same_ones() -> None:
    rows = [number.to_bytes(784, "little") for number in range(8000)]
    sample = [row for row in rows if is_in_sample(row)]
    assert 0.8 * 8000 / SAMPLED < len(sample) < 1.2 * 8000 / SAMPLED
    assert all(is_in_sample(row) for row in sample)


def serve() -> tuple[ServedRoute, ToyStage]:
    stage = ToyStage("a", lambda value: final(value, "a"))
    served = serve_toy(stage)
    served.cache_row_s = CACHE_S
    served.entry.row_cost.observe(100_000, 100_000 * ROW_S)
    return served, stage


def count_skipped(served: ServedRoute, *requests: Request) -> int:
    async def use(engine: Engine) -> int:
        for request in requests:
            await engine.answer(request)
        return engine.cached_rows.skipped

    return with_engine(use, served)


def test_most_rows_that_never_come_again_are_skipped() -> None:
    served, stage = serve()
    observe(served.worth, 0.0)
    skipped = count_skipped(served, *[ask(float(value)) for value in range(400)])
    assert 400 * (1 - 2 / SAMPLED) < skipped < 400
    assert sum(map(len, stage.batches)) == 400


def test_rows_of_the_sample_are_answered_from_the_cache() -> None:
    served, stage = serve()
    observe(served.worth, 0.0)
    requests = [ask(float(value)) for value in range(100)]
    skipped = count_skipped(served, *requests, *requests)
    assert sum(map(len, stage.batches)) == 100 + skipped // 2


def test_rows_that_come_again_are_cached() -> None:
    served, _ = serve()
    observe(served.worth, 0.5)
    assert count_skipped(served, *[ask(float(value)) for value in range(100)]) == 0
