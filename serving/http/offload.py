"""Work that takes the event loop too long, in threads: few at once, of each caller one.

So a caller who has much of it waits for himself: another's work waits at most for one piece of each
other caller's.
"""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

SLOTS = 2

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class OffloadThreads:
    """One for each event loop."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._caller_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(
        self,
        caller: str,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """`work(...)`. Work that has begun is waited for also where this is cancelled: until it
        ends in its thread, its slot is taken and what it was given is held.
        """
        turn = self._caller_locks.get(caller)
        if turn is None:
            turn = self._caller_locks[caller] = asyncio.Lock()
        async with turn, self._slots:
            thread = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
            try:
                return await asyncio.shield(thread)
            except asyncio.CancelledError:
                await asyncio.wait([thread])
                raise
