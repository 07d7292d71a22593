"""`python -m benchmarks.remote`: the second tier of memory, against a real Redis.

Three questions. What a key costs: CPU of our process and of Redis, in batches of 64. Whether a
second process has the hit rate of one big memory: two processes, each with little memory of its
own, answer the requests of the Mooncake traces (arXiv 2407.00079) in turns, block ids as keys. And
what a Redis that is in trouble does to the server's answers: `remote_faults`. It is part of the
report on memory.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.process_tree import read_cpu_s
from benchmarks.redis_server import RedisServer
from benchmarks.remote_faults import measure_faults
from benchmarks.remote_pair import measure_pair, read_requests
from benchmarks.report import DOCS, write_report
from benchmarks.results import FOLDER, QUICK_FOLDER, Sample, write_results
from cache.remote import MAX_KEYS, RemoteMemory
from core.errors import SparingError
from core.messages import Array, Key, Outcome
from training.data.sets import load_data

BATCHES = 2000  # of each kind, a run
QUICK = 20  # times fewer of each
SECRET = b"s" * 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="shipped routes")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help=f"one run, {QUICK} times less, into runs/bench/"
    )
    options = parser.parse_args()
    runs, scale = (1, QUICK) if options.quick else (options.runs, 1)
    command = "python -m benchmarks.remote " + ("--quick" if options.quick else f"--runs {runs}")
    try:
        test, requests = load_data("cifar10").test, read_requests(scale)
        samples = [
            *measure_keys(runs, BATCHES // scale),
            *measure_pair(requests),
            *measure_faults(options.models, test.pictures, runs, quick=options.quick),
        ]
    except (FileNotFoundError, SparingError, RuntimeError, ValueError) as error:
        sys.exit(str(error))
    path = write_results("remote", command, samples, QUICK_FOLDER if options.quick else FOLDER)
    print(write_report("remote", path, QUICK_FOLDER if options.quick else DOCS))


def measure_keys(runs: int, batches: int) -> Iterator[Sample]:
    """CPU a key of looking up what is there and what is not, and of storing."""
    console = Console(stderr=True)
    for run in range(runs):
        with RedisServer() as redis:
            for case, ours_us, redis_us in asyncio.run(_measure_keys(redis, batches)):
                console.print(f"run {run + 1}/{runs} {case:10} {ours_us:6.2f} µs a key, Redis "
                              f"{redis_us:.2f}")  # fmt: skip
                yield Sample(case, run, "cpu_us", ours_us)
                yield Sample(case, run, "redis_cpu_us", redis_us)


async def _measure_keys(redis: RedisServer, batches: int) -> list[tuple[str, float, float]]:
    memory = RemoteMemory(redis.url, SECRET, timeout_s=5.0)
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


def _count_done(memory: RemoteMemory) -> int:
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


if __name__ == "__main__":
    main()
