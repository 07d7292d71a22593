"""One ModelStreamInfer call: requests read, worked on at once, answered as they are ready.

Bounded: a stream with `MAX_REQUESTS` requests under way is not read further, so a caller who
sends faster than answers leave is slowed down by the transport. Knows neither grpc nor what a
request means.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from serving.grpc.open_calls import EndReason, OpenCall, OpenCalls

MAX_REQUESTS = 32  # of one stream at once; more wait unread

Read = Callable[[], Awaitable[bytes | None]]  # None: the caller has sent everything
Write = Callable[[bytes], Awaitable[None]]
Respond = Callable[[bytes], AsyncGenerator[bytes, None]]  # the responses to one request
OnAnswered = Callable[[], None]  # a request has all its responses


class StreamCall:
    """Run once; everything under way ends with the task that runs it."""

    def __init__(self, read: Read, write: Write, respond: Respond, answered: OnAnswered) -> None:
        self._read = read
        self._write = write
        self._respond = respond
        self._answered = answered
        self._slots = asyncio.Semaphore(MAX_REQUESTS)
        self._write_lock = asyncio.Lock()  # one response is written at a time

    async def run(self, draining: asyncio.Event) -> bool:
        """Answer all that was read; false when draining ended the reading early."""
        async with asyncio.TaskGroup() as tasks:
            return await run_until_event(draining, self._read_all(tasks))

    async def _read_all(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._slots.acquire()
            raw = await self._read()
            if raw is None:
                return
            tasks.create_task(self._answer(raw))

    async def _answer(self, raw: bytes) -> None:
        try:
            async with aclosing(self._respond(raw)) as responses:
                async for response in responses:
                    async with self._write_lock:
                        await self._write(response)
        finally:
            self._slots.release()
            self._answered()


class StreamIo:
    """Both ways of a stream. It waits for its client while it has no request under way, and while
    an answer is to be taken.
    """

    def __init__(
        self, opened: OpenCall, calls: OpenCalls, hear: Callable[[OpenCall, bytes], None]
    ) -> None:
        self._opened = opened
        self._context = opened.context
        self._calls = calls
        self._receive = hear
        self._requests = 0
        self._writes = False
        calls.wait(opened, EndReason.IDLE)

    async def read(self) -> bytes | None:
        """The next message; None at the end."""
        raw: Any = await self._context.read()
        if not isinstance(raw, bytes):  # the library's mark of the end
            return None
        self._requests += 1
        if not self._writes:  # else it goes on waiting for its client to read
            self._opened.since = None
        self._receive(self._opened, raw)
        return raw

    async def write(self, raw: bytes) -> None:
        self._writes = True
        self._calls.wait(self._opened, EndReason.UNREAD)
        await self._context.write(raw)
        self._writes = False
        self._opened.since = None

    def rest(self) -> None:
        """A request is answered."""
        self._requests -= 1
        if not self._requests:
            self._calls.wait(self._opened, EndReason.IDLE)


async def run_until_event(event: asyncio.Event, work: Coroutine[object, object, None]) -> bool:
    """Run to the end, or until the event happens; false then."""
    running = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            return False
        await running
        return True
    finally:
        running.cancel()
        waiting.cancel()
