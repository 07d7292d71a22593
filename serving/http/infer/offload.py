"""Runs work that would block the event loop in threads: few at once, one for each caller.

So a caller with much work delays itself: another caller's work waits at most for one piece of each
other caller.
"""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

SLOTS = 2

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class OffloadThreads:
    """The threads of one event loop."""

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
        """Return `work(...)`, run in a thread.

        If this coroutine is cancelled, it still waits for work that has begun: until its thread
        ends, the slot is taken and the arguments are held.
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
