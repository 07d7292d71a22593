"""Two processes that share a Redis, and whether the second one has the hit rate of one big cache.

The requests of a trace are dealt to two processes in turns; each has a first tier with room for one
in a hundred of the trace's different keys. A request's keys are looked up in both tiers, those that
are missing are stored in both, and the other process's turn comes at once: nothing waits until
everything is in Redis. The big memory is a first tier with room for everything, alone.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from benchmarks.caching.mooncake import TRACES, read_trace
from benchmarks.caching.policies import ANSWER, find_limit_bytes
from cache.local_cache import LocalCache
from cache.remote_cache import MAX_KEYS, RemoteCache
from core.messages import Key
from harness.results import Sample
from harness.services.redis_server import RedisServer

OWN_SHARE = 100  # different keys for each that a process has room for
SECRET = b"s" * 32
TIMEOUT_S = 1.0  # the timeout is not what is measured here
Requests = Sequence[Sequence[Key]]


def read_requests(scale: int = 1) -> Mapping[str, Requests]:
    """By trace, each request's keys in the order asked; FileNotFoundError with a sentence."""
    found = {}
    for name in TRACES:
        blocks = read_trace(name)
        found[name] = [
            [one.to_bytes(16, "big") for one in part.tolist()]
            for part in blocks[: len(blocks) // scale]
        ]
    return found


def measure_pair(traces: Mapping[str, Requests], console: Console) -> Iterator[Sample]:
    """Hit rates of the second of two processes, with and without a shared tier, and of one big
    memory on the same requests.
    """
    for name, requests in traces.items():
        different = len({key for request in requests for key in request})
        own_bytes = find_limit_bytes(different // OWN_SHARE)
        big = count_hits(requests, LocalCache(find_limit_bytes(2 * different)))
        alone = count_hits(requests[1::2], LocalCache(own_bytes))
        with RedisServer() as redis:
            shared = ask_pair(requests, own_bytes, redis.url, console, name)
        asked = sum(map(len, requests[1::2]))
        rates = {
            "second process": sum(shared[1::2]) / asked,
            "one big memory": sum(big[1::2]) / asked,
            "second process alone": sum(alone) / asked,
        }
        for system, rate in rates.items():
            console.print(f"{name:14} {system:22} {rate:.2%}")
            yield Sample(f"{system} @ {name}", 0, "hit_rate", rate)
            yield Sample(f"{system} @ {name}", 0, "keys", asked)


def count_hits(requests: Requests, memory: LocalCache) -> list[int]:
    """Of each request, in a first tier alone."""
    hits = []
    for request in requests:
        missing = [key for key in request if memory.get(key) is None]
        for key in missing:
            memory.put(key, ANSWER)
        hits.append(len(request) - len(missing))
    return hits


def ask_pair(
    requests: Requests, own_bytes: int, url: str, console: Console, name: str
) -> list[int]:
    """Hits of each request, dealt to two processes in turns."""
    first, second = (
        ProcessPoolExecutor(1, get_context("spawn"), _open_tiers, (url, own_bytes))
        for _ in range(2)
    )
    with first, second:
        return [
            (second if number % 2 else first).submit(_answer, request).result()
            for number, request in enumerate(track(requests, name, console=console))
        ]


class Tiers(NamedTuple):
    """Both tiers of a process, and the loop on which answers are stored between requests."""

    loop: asyncio.AbstractEventLoop
    local: LocalCache
    remote: RemoteCache


_open: list[Tiers] = []  # one, in each of the two processes


def _open_tiers(url: str, own_bytes: int) -> None:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    _open.append(Tiers(loop, LocalCache(own_bytes), RemoteCache(url, SECRET, timeout_s=TIMEOUT_S)))


def _answer(keys: Sequence[Key]) -> int:
    (tiers,) = _open
    return asyncio.run_coroutine_threadsafe(_recall(keys, *tiers[1:]), tiers.loop).result()


async def _recall(keys: Sequence[Key], local: LocalCache, remote: RemoteCache) -> int:
    unknown = [key for key in keys if local.get(key) is None]
    missing = []
    for start in range(0, len(unknown), MAX_KEYS):
        some = unknown[start : start + MAX_KEYS]
        found = await remote.look_up(some) or [None] * len(some)
        for key, known in zip(some, found, strict=True):
            local.put(key, ANSWER if known is None else known.outcome)
            if known is None:
                missing.append(key)
    for key in missing:
        remote.put(key, ANSWER)
    return len(keys) - len(missing)
