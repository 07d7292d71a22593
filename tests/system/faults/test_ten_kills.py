"""Two processes and the Redis they share are killed ten times each under load: nothing is answered
wrongly, what broke off was retryable, and both tiers work at the end.
"""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from harness.live_server import LiveServer
from harness.services.redis_server import RedisServer
from harness.waiting import wait_until
from tests.clients.remembered_load import RememberedLoad
from tests.servers.workers import TWO_WORKERS, pids_of
from tests.system.faults.test_remote_faults import (
    NO_FIRST_TIER,
    PICTURES,
    SECRET,
    label,
    write_dear_route,
)

KILLS = 10
PART = 20  # answers on each endpoint between two kills
THINKING_S = 0.03  # or the callers take the cores that a new worker needs to begin


@pytest.mark.slow
def test_ten_kills_of_workers_and_of_redis_give_no_wrong_answer(tmp_path: Path) -> None:
    right = label(write_dear_route(tmp_path), PICTURES)
    with RedisServer() as redis:
        remote = f'[cache.remote]\nurl = "{redis.url}"\nsecret = "{SECRET}"\n'
        with LiveServer(tmp_path, TWO_WORKERS + NO_FIRST_TIER + remote) as server:
            load = RememberedLoad(server, PICTURES, right, patient=True, thinking_s=THINKING_S)
            asyncio.run(kill_in_turn(server, redis, load))
            assert (load.wrong, load.errors) == (0, [])
            assert load.retried > 0
            assert server.metric("sparing_worker_starts_total") == 2 + KILLS
            wait_until(lambda: redis.keys() != [], "the second tier is not used any more")
            assert server.stop() == 0


async def kill_in_turn(server: LiveServer, redis: RedisServer, load: RememberedLoad) -> None:
    async with load:
        for number in range(KILLS):
            await load.more(PART)
            redis.kill()
            await load.more(PART)
            victim = sorted(pids_of(server))[number % 2]
            os.kill(victim, signal.SIGKILL)
            await asyncio.to_thread(redis.start)
            await asyncio.to_thread(wait_for_two, server, victim)
        await load.more(PART)


def wait_for_two(server: LiveServer, victim: int) -> None:
    def is_replaced() -> bool:
        pids = pids_of(server)
        return victim not in pids and len(pids) == 2 and server.metric("sparing_workers") == 2

    wait_until(is_replaced, f"process {victim} is not replaced")
