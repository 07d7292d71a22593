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


class Aside:
    """One for each event loop."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(
        self,
        caller: str,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """`work(...)`, which may run on in its thread when the wait for it is cancelled."""
        turn = self._turns.get(caller)
        if turn is None:
            turn = self._turns[caller] = asyncio.Lock()
        async with turn, self._slots:
            return await asyncio.to_thread(work, *args, **kwargs)
