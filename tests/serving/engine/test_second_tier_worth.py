"""Which rows are looked up in the second tier: those worth it by a measure that is kept true."""

import pytest

from cache.remote_cache import RETRY_S
from harness.services.redis_server import RedisServer
from harness.waiting import until
from tests.fakes.clock import Clock
from tests.fakes.toys import (
    ask,
    cascade,
    serve_toy,
    values,
)
from tests.serving.tiers import LONG_S, Process, make_dear, with_processes


def test_cheap_rows_do_not_wait_and_keys_are_measured_beside_them(redis: RedisServer) -> None:
    served = make_dear(serve_toy(*cascade()), row_s=1e-9)

    async def use(process: Process) -> None:
        await process.engine.answer(ask(2))  # nothing is known of lookups yet
        assert process.remote.counts().lookups == 1
        redis.pause()
        assert values(await process.engine.answer(ask(3))) == [103]
        redis.resume()
        await until(lambda: process.remote.counts().lookups == 2)
        assert process.remote.counts().misses == 2
        assert process.remote.counts().stores == 0

    with_processes(use, lambda: Process(redis.url, served))


def test_a_tier_that_failed_is_tried_out_beside_the_rows(redis: RedisServer) -> None:
    clock = Clock()
    served = make_dear(serve_toy(*cascade()))

    async def use(process: Process) -> None:
        await process.engine.answer(ask(1))
        redis.pause()
        for value in (3, 5, 7):
            process.engine.lookup.tier.timeout_s = 0.01  # type: ignore[union-attr,misc]
            assert values(await process.engine.answer(ask(value))) == [value + 100]
        assert process.remote.lookup_state() == "open"
        assert values(await process.engine.answer(ask(9))) == [109]
        assert process.remote.counts().errors["timeout"] >= 3

    with_processes(use, lambda: Process(redis.url, served, remote={"clock": clock}))


def test_a_trial_which_has_to_connect_is_no_measure_of_a_key(redis: RedisServer) -> None:
    clock = Clock()
    served = make_dear(serve_toy(*cascade()))

    async def use(process: Process) -> None:
        lookup = process.engine.lookup
        assert lookup is not None
        await process.engine.answer(ask(1))
        measured = lookup.key_s()
        redis.pause()
        for value in (3, 5, 7):
            lookup.tier.timeout_s = 0.01  # type: ignore[misc]
            await process.engine.answer(ask(value))
        redis.resume()
        clock.now_s += RETRY_S
        lookup.tier.timeout_s = LONG_S  # type: ignore[misc]
        await process.engine.answer(ask(9))
        await until(lambda: process.remote.lookup_state() == "closed")
        assert process.remote.counts().lookups == 2
        assert lookup.key_s() == pytest.approx(measured)

    with_processes(use, lambda: Process(redis.url, served, remote={"clock": clock}))


def test_no_cache_and_routes_that_do_not_remember_pass_the_second_tier_by(
    redis: RedisServer,
) -> None:
    served = make_dear(serve_toy(*cascade()))
    forgetful = make_dear(serve_toy(*cascade(), route="forgetful", is_cached=False))

    async def use(process: Process) -> None:
        await process.engine.answer(ask(2, no_cache=True))
        await process.engine.answer(ask(2, route="forgetful"))
        counts = process.remote.counts()
        assert (counts.lookups, counts.misses, counts.stores) == (0, 0, 0)

    with_processes(use, lambda: Process(redis.url, served, forgetful))
    assert redis.keys() == []
