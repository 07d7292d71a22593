"""Bounded waiting for what other processes, threads and tasks do, instead of sleeping.

The bounds only end a test that hangs: no test says how long something takes.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

WITHIN_S = 60.0
LOOK_EVERY_S = 0.002
LOOK_OUTSIDE_EVERY_S = 0.05  # a look at another process costs that process time too


async def until(
    happened: Callable[[], bool | Awaitable[bool]],
    what: str = "the condition did not come true",
    within_s: float = WITHIN_S,
) -> None:
    """Let the loop and other threads run until `happened()`, an answer or a coroutine of one."""
    deadline = time.monotonic() + within_s
    while True:
        answer = happened()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline, what
        await asyncio.sleep(LOOK_EVERY_S)


def wait_until(happened: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
    """The same without a loop, for what happens in another process."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(LOOK_OUTSIDE_EVERY_S)
