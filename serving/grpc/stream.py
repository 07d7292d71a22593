"""One ModelStreamInfer call: requests are read, started at once and answered as they finish.

A stream with `MAX_REQUESTS` requests under way is not read further, so that the transport slows
down a client that sends faster than responses leave. Knows neither grpc nor the requests' meaning.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from serving.grpc.open_calls import EndReason, OpenCall, OpenCalls

MAX_REQUESTS = 32  # under way on one stream; further ones stay unread

Read = Callable[[], Awaitable[bytes | None]]  # None: the client has sent everything
Write = Callable[[bytes], Awaitable[None]]
Respond = Callable[[bytes], AsyncGenerator[bytes, None]]  # yields the responses to one request
OnAnswered = Callable[[], None]  # called when a request has all its responses


class StreamCall:
    """Call `run` once; everything under way ends with the task that runs it."""

    def __init__(self, read: Read, write: Write, respond: Respond, answered: OnAnswered) -> None:
        self._read = read
        self._write = write
        self._respond = respond
        self._answered = answered
        self._slots = asyncio.Semaphore(MAX_REQUESTS)
        self._write_lock = asyncio.Lock()  # one response is written at a time

    async def run(self, draining: asyncio.Event) -> bool:
        """Answer everything that was read; return False if a drain ended the reading early."""
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
    """Both directions of a stream. It waits for its client while it has no request under way, and
    while a response is being taken.
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
        """Return the next message; None at the end."""
        raw: Any = await self._context.read()
        if not isinstance(raw, bytes):  # the library's mark of the end
            return None
        self._requests += 1
        if not self._writes:  # otherwise it still waits for its client to read
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
        """Note that a request is answered."""
        self._requests -= 1
        if not self._requests:
            self._calls.wait(self._opened, EndReason.IDLE)


async def run_until_event(event: asyncio.Event, work: Coroutine[object, object, None]) -> bool:
    """Run `work` to its end and return True, or until the event happens and return False."""
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
