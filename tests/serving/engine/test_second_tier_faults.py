"""A second tier in trouble, and trouble with its answers, keep no row waiting."""

import asyncio

from cache.local_cache import LocalCache
from core.messages import Key, Outcome
from harness.services.redis_server import RedisServer
from tests.fakes.toys import ask, cascade, serve_toy, values
from tests.serving.tiers import Process, make_dear, stored, with_processes


def test_a_silent_tier_delays_a_row_by_no_more_than_the_timeout_and_changes_no_answer(
    redis: RedisServer,
) -> None:
    served = make_dear(serve_toy(*cascade()))

    async def use(process: Process) -> None:
        redis.pause()
        replies = await asyncio.gather(
            *(process.engine.answer(ask(value)) for value in range(1, 2001, 2))
        )
        assert [values(reply) for reply in replies] == [[v + 100] for v in range(1, 2001, 2)]
        assert process.remote.counts().errors["timeout"] > 0
        assert served.entry.looked_up == 0

    with_processes(use, lambda: Process(redis.url, served, timeout_s=0.02))


class _BrokenOnce(LocalCache):
    """A first tier whose first `put` fails."""

    broken = True

    def put(self, key: Key, outcome: Outcome, ttl_s: float | None = None) -> None:
        if self.broken:
            self.broken = False
            raise RuntimeError("broken")
        super().put(key, outcome, ttl_s)


def test_what_goes_wrong_with_one_row_of_a_look_up_keeps_no_other_waiting(
    redis: RedisServer,
) -> None:
    async def use(first: Process, second: Process) -> None:
        await first.engine.answer(ask(2, 3, 4))
        await stored(first, 3)
        assert values(await second.engine.answer(ask(2, 3, 4))) == [2, 103, 4]

    def make(local: LocalCache) -> Process:
        return Process(redis.url, make_dear(serve_toy(*cascade())), local=local)

    with_processes(use, lambda: make(LocalCache(1 << 20)), lambda: make(_BrokenOnce(1 << 20)))
