"""What tests of the second tier share: small answers, their keys, and a tier that gets closed."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import numpy as np

from cache.remote_cache import MAX_KEYS, RemoteCache
from core.messages import Key, Outcome

SECRET = b"s" * 32
LONG_S = 5.0  # a timeout that is not what a test is about


def make_outcome(value: int, size: int = 1) -> Outcome:
    return Outcome({"label": np.full(size, value, dtype=np.int64)}, 0.5, "light")


def make_key(index: int) -> Key:
    return index.to_bytes(16, "big")


def read(outcome: Outcome | None) -> int | None:
    return None if outcome is None else int(outcome.outputs["label"].flat[0])


def with_memory(
    use: Callable[[RemoteCache], Coroutine[Any, Any, None]], url: str, **options: Any
) -> None:
    """Run a coroutine with a second tier, and close it whatever happens."""

    async def main() -> None:
        memory = RemoteCache(url, SECRET, **{"timeout_s": LONG_S, **options})
        try:
            await asyncio.wait_for(use(memory), 20.0)
        finally:
            await memory.close()

    asyncio.run(main())


async def recall(memory: RemoteCache, keys: Sequence[Key]) -> Sequence[Outcome | None]:
    """What is known of any number of keys; None also for those that could not be asked for."""
    answers: list[Outcome | None] = []
    for start in range(0, len(keys), MAX_KEYS):
        some = keys[start : start + MAX_KEYS]
        found = await memory.look_up(some) or [None] * len(some)
        answers += [None if one is None else one.outcome for one in found]
    return answers


async def store(
    memory: RemoteCache, items: Iterable[tuple[Key, Outcome]], ttl_s: float | None = None
) -> None:
    """Put them, and wait until they are kept or have failed."""
    for key, outcome in items:
        memory.put(key, outcome, ttl_s)
    if (flushing := memory._flushing) is not None:
        await asyncio.wait([flushing])
