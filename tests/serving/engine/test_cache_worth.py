"""The local cache of a route is used only where it saves more than it costs."""

import pytest

from core.messages import Request
from serving.engine.cache_worth import PAUSE_ROWS, PAUSE_S, TRIAL_ROWS, CacheWorth
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from tests.fakes.toys import ToyStage, ask, final, serve_toy, with_engine
from tests.serving.scheduling.stepped import Clock

ROW_S, CACHE_S = 100e-6, 5e-6  # caching costs as much as it saves at a hit rate of 5 %
MANY = 5 * TRIAL_ROWS


def observe(worth: CacheWorth, hit_rate: float, rows: int = MANY) -> CacheWorth:
    for _ in range(rows // 100):
        worth.observe(100, round(100 * hit_rate))
    return worth


def test_without_evidence_everything_is_cached() -> None:
    assert observe(CacheWorth(), 0.0, TRIAL_ROWS - 100).pays(ROW_S, CACHE_S)


@pytest.mark.parametrize(
    ("hit_rate", "pays"), [(0.0, False), (0.02, False), (0.03, True), (0.5, True)]
)
def test_it_stops_where_it_costs_twice_what_it_saves(hit_rate: float, pays: bool) -> None:
    assert observe(CacheWorth(), hit_rate).pays(ROW_S, CACHE_S) is pays


@pytest.mark.parametrize(("rows", "seconds"), [(PAUSE_ROWS, 0.0), (0, PAUSE_S)])
def test_after_a_pause_it_tries_again(rows: int, seconds: float) -> None:
    clock = Clock()
    worth = observe(CacheWorth(clock), 0.0)
    assert not worth.pays(ROW_S, CACHE_S)
    worth.skip(rows - 1)
    clock.now += seconds / 2
    assert not worth.pays(ROW_S, CACHE_S)
    worth.skip(1)
    clock.now += seconds / 2
    assert worth.pays(ROW_S, CACHE_S)
    assert not observe(worth, 0.0, TRIAL_ROWS + 100).pays(ROW_S, CACHE_S)


def test_a_trial_that_pays_ends_the_pauses() -> None:
    clock = Clock()
    worth = observe(CacheWorth(clock), 0.0)
    assert not worth.pays(ROW_S, CACHE_S)
    clock.now += PAUSE_S
    assert worth.pays(ROW_S, CACHE_S)
    assert observe(worth, 0.3).pays(ROW_S, CACHE_S)


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


def test_rows_that_never_come_again_are_not_cached() -> None:
    served, stage = serve()
    observe(served.worth, 0.0)
    requests = [ask(float(value)) for value in range(50)]
    assert count_skipped(served, *requests, *requests) == 100
    assert sum(map(len, stage.batches)) == 100


def test_rows_that_come_again_are_cached() -> None:
    served, stage = serve()
    observe(served.worth, 0.5)
    requests = [ask(float(value)) for value in range(50)]
    assert count_skipped(served, *requests, *requests) == 0
    assert sum(map(len, stage.batches)) == 50


def test_equal_rows_of_one_request_count_as_saved() -> None:
    served, _ = serve()
    observe(served.worth, 0.0, TRIAL_ROWS - 100)
    equal = [ask(*[float(value)] * 8) for value in range(500)]
    assert count_skipped(served, *equal) == 0
