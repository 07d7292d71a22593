"""`python -m benchmarks.caching.sharing`: processes that share a Redis, against one big cache.

Replays the Mooncake traces (arXiv 2407.00079) without pauses: each process gets every so many-th
request, looks its blocks up in a small cache of its own and then in the Redis, and stores what
neither holds. The Redis and the big cache have room for the same number of answers. Needs an idle
machine; all traffic stays on 127.0.0.1.
"""

import argparse
import asyncio
import multiprocessing
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import redis

from benchmarks.caching import policies
from benchmarks.caching.mooncake import TRACES, Blocks, read_trace
from cache.local_cache import LocalCache
from cache.remote_cache import MAX_KEYS, RemoteCache
from core.messages import Key, Outcome
from harness.services.redis_server import RedisServer

PROCESSES = 4
EVICTIONS = ("allkeys-lru", "allkeys-lfu")
ROOM_SHARE = 0.1  # of the different blocks
LOCAL_SHARE = 0.02  # of the room, in each process
_VALUES = 512  # of an answer: large beside the buffers of connections, which Redis counts too
_LOCAL_BYTES = 8 * _VALUES + 700  # of an answer in the local cache
_SECRET = b"s" * 32
_TIMEOUT_S = 5.0  # so that no lookup is cut short: the hit rate is measured, not the time
_PROBES = 2000
_ANSWER = Outcome({"label": np.ones(_VALUES, dtype=np.int64)}, 0.5, "light")


class Shared(NamedTuple):
    """Hit rates of one trace."""

    requests: int
    blocks: int
    room: int
    one_cache: float
    one_lru: float  # of the policy that Redis approximates, without sharing
    shared: float

    @property
    def loss(self) -> float:
        """The part of the big cache's hit rate that is lost."""
        return 1 - self.shared / self.one_cache if self.one_cache else 0.0


def measure(
    trace: Sequence[Blocks], processes: int = PROCESSES, eviction: str = EVICTIONS[0]
) -> Shared:
    """Replay a trace in both ways, with a policy of Redis. Raises FileNotFoundError where no
    redis-server is installed.
    """
    keys = np.concatenate(trace)
    room = max(1, int(len(np.unique(keys)) * ROOM_SHARE))
    with RedisServer("--maxmemory-policy", eviction, "--maxmemory-samples", "10") as server:
        _limit(server, room)
        local_bytes = max(1, int(room * LOCAL_SHARE)) * _LOCAL_BYTES
        jobs = [(server.url, trace[first::processes], local_bytes) for first in range(processes)]
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            hits = sum(pool.starmap(replay, jobs))
    one = policies.ours(keys, room) / len(keys)
    lru = policies.lru(keys, room) / len(keys)
    return Shared(len(trace), len(keys), room, one, lru, hits / len(keys))


def replay(url: str, requests: Sequence[Blocks], local_bytes: int) -> int:
    """Ask for the blocks of each request in turn; return how many were known."""
    return asyncio.run(_replay(url, requests, local_bytes))


async def _replay(url: str, requests: Sequence[Blocks], local_bytes: int) -> int:
    local, hits = LocalCache(local_bytes), 0
    remote = RemoteCache(url, _SECRET, timeout_s=_TIMEOUT_S)
    try:
        for blocks in requests:
            wanted = [_make_key(int(block)) for block in blocks]
            missing = [key for key in wanted if local.get(key) is None]
            unknown = await _look_up(remote, missing)
            hits += len(wanted) - len(unknown)
            for key in missing:
                local.put(key, _ANSWER)
            for key in unknown:
                remote.put(key, _ANSWER)
    finally:
        await remote.close()
    return hits


async def _look_up(remote: RemoteCache, keys: Sequence[Key]) -> list[Key]:
    """Return the keys that the Redis does not hold."""
    unknown: list[Key] = []
    for start in range(0, len(keys), MAX_KEYS):
        some = keys[start : start + MAX_KEYS]
        found = await remote.look_up(some) or [None] * len(some)
        unknown += [key for key, one in zip(some, found, strict=True) if one is None]
    return unknown


def _limit(server: RedisServer, room: int) -> None:
    """Give the Redis memory for so many answers, by what some take."""
    with server.client() as client:
        before = _read_bytes(client)
        asyncio.run(_replay(server.url, [np.arange(_PROBES)], 1))
        entry_bytes = (_read_bytes(client) - before) / client.dbsize()
        client.flushall()
        client.config_set("maxmemory", int(_read_bytes(client) + room * entry_bytes))


def _read_bytes(client: "redis.Redis") -> int:
    return int(client.info("memory")["used_memory"])


def _make_key(block: int) -> Key:
    return block.to_bytes(16, "big")


def main() -> None:
    """Print the hit rates of both ways on the published traces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a twentieth of each trace")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--eviction", choices=EVICTIONS, default=EVICTIONS[0])
    options = parser.parse_args()
    for name in TRACES:
        trace = read_trace(name)
        part = trace[: len(trace) // 20] if options.quick else trace
        found = measure(part, options.processes, options.eviction)
        print(
            f"{name}: {found.requests} requests, {found.blocks} blocks, room for {found.room}: "
            f"one cache {found.one_cache:.2%}, with LRU {found.one_lru:.2%}, "
            f"{options.processes} processes {found.shared:.2%}, {found.loss:.2%} lost"
        )


if __name__ == "__main__":
    main()
