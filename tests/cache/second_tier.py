"""What tests of the second tier share: small answers, their keys, and a tier that gets closed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np

from cache.remote import RemoteMemory
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
    use: Callable[[RemoteMemory], Coroutine[Any, Any, None]], url: str, **options: Any
) -> None:
    """Run a coroutine with a second tier, and close it whatever happens."""

    async def main() -> None:
        memory = RemoteMemory(url, SECRET, **{"timeout_s": LONG_S, **options})
        try:
            await asyncio.wait_for(use(memory), 20.0)
        finally:
            await memory.close()

    asyncio.run(main())
