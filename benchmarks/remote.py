"""`python -m benchmarks.remote`: the second cache tier, against a real Redis.

Two questions. What a key costs: CPU of our process and of Redis, in batches of 64. Whether a
second process has the hit rate of one big cache: two processes, each with a small cache of its
own, answer the requests of the Mooncake traces (arXiv 2407.00079) in turns, block ids as keys. It
is part of the report on the cache. What a Redis that fails does is `reliability.redis_faults`.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import numpy as np
from rich.console import Console

from benchmarks.caching.mooncake import TRACES
from benchmarks.caching.pair import measure_pair, read_requests
from benchmarks.reporting.command import make_parser, run_benchmark
from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Target, difference, value
from cache.remote_cache import MAX_KEYS, RemoteCache
from core.messages import Array, Key, Outcome
from harness.process_tree import read_cpu_s
from harness.results import Results, Sample
from harness.services.redis_server import RedisServer

BATCHES = 2000  # of each kind, a run
QUICK = 20  # times fewer of each
SECRET = b"s" * 32
KEYS = {"hit": "looking up what is there", "miss": "what is not", "store": "storing"}
SECOND, BIG, ALONE = "second process", "one big memory", "second process alone"
COLUMNS = plain({
    "cpu_us": "CPU µs/key",
    "redis_cpu_us": "CPU µs/key of Redis",
    "hit_rate": "hit rate",
    "keys": "keys",
})  # fmt: skip


TARGETS = (
    *(
        Target(f"CPU a key in batches of 64, {words}", value(case, "cpu_us"), 20, unit="µs")
        for case, words in KEYS.items()
    ),
    *(
        Target(f"Hit rate of the second process below one big cache's, {trace}",
               difference(f"{BIG} @ {trace}", f"{SECOND} @ {trace}", "hit_rate", 100), 2,
               unit="points", digits=2)
        for trace in TRACES
    ),
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    """What a key costs, and what the second process finds."""
    return [
        Bars("CPU a key in batches of 64, µs", [*KEYS], {
            words: [results.median(case, metric) for case in KEYS]
            for metric, words in (("redis_cpu_us", "Redis"), ("cpu_us", "Sparing"))
        }, 1),
        Bars("hit rate of the second process, %", TRACES, {
            words: [100 * results.median(f"{system} @ {trace}", "hit_rate") for trace in TRACES]
            for system, words in ((ALONE, "alone"), (SECOND, "shared Redis"), (BIG, BIG))
        }, 1),
    ]  # fmt: skip


REPORT = Report("remote", "cache", "What processes share", TARGETS, draw, [Table(COLUMNS)])


def measure_tier(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    scale = QUICK if options.quick else 1
    requests = read_requests(scale)
    yield from measure_keys(options.runs, BATCHES // scale, console)
    yield from measure_pair(requests, console)


def measure_keys(runs: int, batches: int, console: Console) -> Iterator[Sample]:
    """CPU a key of looking up what is there and what is not, and of storing."""
    for run in range(runs):
        with RedisServer() as redis:
            for case, ours_us, redis_us in asyncio.run(_measure_keys(redis, batches)):
                console.print(f"run {run + 1}/{runs} {case:10} {ours_us:6.2f} µs a key, Redis "
                              f"{redis_us:.2f}")  # fmt: skip
                yield Sample(case, run, "cpu_us", ours_us)
                yield Sample(case, run, "redis_cpu_us", redis_us)


async def _measure_keys(redis: RedisServer, batches: int) -> list[tuple[str, float, float]]:
    memory = RemoteCache(redis.url, SECRET, timeout_s=5.0)
    count = batches * MAX_KEYS
    names = [index.to_bytes(16, "big") for index in range(2 * count)]
    keys, absent = names[:count], names[count:]
    outcome = make_outcome()

    def count_done() -> int:
        """Answers that were stored, or could not be."""
        counts = memory.counts()
        return counts.stores + sum(counts.errors.values())

    async def store(some: list[Key]) -> None:
        done = count_done() + len(some)
        for key in some:
            memory.put(key, outcome)
        while count_done() < done:
            await asyncio.sleep(0.0002)

    found = [
        ("store", *await _time(store, keys, redis)),
        ("hit", *await _time(memory.look_up, keys, redis)),
        ("miss", *await _time(memory.look_up, absent, redis)),
    ]
    counts = memory.counts()
    await memory.close()
    done = {counts.hits, counts.misses, counts.stores}
    if done != {count} or any(counts.errors.values()):
        raise RuntimeError(f"the second tier did not do what is measured: {counts}")
    return found


async def _time(
    work: Callable[[list[Key]], Awaitable[object]], keys: list[Key], redis: RedisServer
) -> tuple[float, float]:
    """CPU µs a key: ours, and that of Redis."""
    theirs_s, ours_s = read_cpu_s(redis.process.pid), time.process_time()
    for start in range(0, len(keys), MAX_KEYS):
        await work(keys[start : start + MAX_KEYS])
    ours_s = time.process_time() - ours_s
    theirs_s = read_cpu_s(redis.process.pid) - theirs_s
    return ours_s / len(keys) * 1e6, theirs_s / len(keys) * 1e6


def make_outcome() -> Outcome:
    """An answer as the shipped cascades give it."""
    outputs: dict[str, Array] = {
        "label": np.array(3, dtype=np.int64),
        "probabilities": np.linspace(0, 0.2, 10, dtype=np.float32),
    }
    return Outcome(outputs, 0.9, "cnn-7m")


if __name__ == "__main__":
    run_benchmark(make_parser(__doc__), measure_tier, REPORT, runs=1)
