"""`python -m benchmarks.remote`: the second cache tier, against a real Redis.

Three questions. What a key costs: CPU of our process and of Redis, in batches of 64. Whether a
second process has the hit rate of one big cache: two processes, each with a small cache of its
own, answer the requests of the Mooncake traces (arXiv 2407.00079) in turns, block ids as keys. And
what a Redis that fails does to the server's answers: `faults`. It is part of the report on the
cache.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import numpy as np
from rich.console import Console

from benchmarks.remote.faults import measure_faults
from benchmarks.remote.pair import measure_pair, read_requests
from benchmarks.remote.report import REPORT
from benchmarks.reporting.command import make_parser, run_benchmark
from cache.remote_cache import MAX_KEYS, RemoteCache
from core.messages import Array, Key, Outcome
from harness.process_tree import read_cpu_s
from harness.results import Sample
from harness.services.redis_server import RedisServer
from training.data.sets import load_data

BATCHES = 2000  # of each kind, a run
QUICK = 20  # times fewer of each
SECRET = b"s" * 32


def measure_tier(options: argparse.Namespace, console: Console) -> Iterator[Sample]:
    scale = QUICK if options.quick else 1
    test, requests = load_data("cifar10").test, read_requests(scale)
    yield from measure_keys(options.runs, BATCHES // scale, console)
    yield from measure_pair(requests)
    yield from measure_faults(options.models, test.pictures, options.runs, quick=options.quick)


def main() -> None:
    run_benchmark(make_parser(__doc__), measure_tier, REPORT, runs=1)


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
    keys = [_make_key(index) for index in range(batches * MAX_KEYS)]
    absent = [_make_key(len(keys) + index) for index in range(len(keys))]
    outcome = make_outcome()

    async def store(some: list[Key]) -> None:
        done = _count_done(memory) + len(some)
        for key in some:
            memory.put(key, outcome)
        while _count_done(memory) < done:
            await asyncio.sleep(0.0002)

    async def look_up(some: list[Key]) -> None:
        await memory.look_up(some)

    found = []
    for case, work, asked in (
        ("store", store, keys), ("hit", look_up, keys), ("miss", look_up, absent),
    ):  # fmt: skip
        found.append((case, *await _time(work, asked, redis)))
    counts = memory.counts()
    await memory.close()
    expected = (len(keys), len(keys), len(keys))
    if (counts.hits, counts.misses, counts.stores) != expected or any(counts.errors.values()):
        raise RuntimeError(f"the second tier did not do what is measured: {counts}")
    return found


def _count_done(memory: RemoteCache) -> int:
    """Answers that were stored, or could not be."""
    counts = memory.counts()
    return counts.stores + sum(counts.errors.values())


async def _time(
    work: Callable[[list[Key]], Awaitable[None]], keys: list[Key], redis: RedisServer
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


def _make_key(index: int) -> Key:
    return index.to_bytes(16, "big")
