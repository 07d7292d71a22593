"""A stream's requests run at once, within bounds, and end with the task that runs them."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from serving.grpc.stream import MAX_REQUESTS, StreamCall, run_until_event

PATIENCE_S = 20.0


class StreamIo:
    """A caller who has sent `count` requests, and the work on them, which waits for the gate."""

    def __init__(self, count: int) -> None:
        self.unread = [b"%d" % number for number in range(count)]
        self.begun = 0
        self.left = 0
        self.answered = 0
        self.full = asyncio.Event()
        self.gate = asyncio.Event()
        self.silence = asyncio.Event()  # set: the caller has no more to say
        self.written: list[bytes] = []
        self.call = StreamCall(self.read_joules, self.write, self.respond, self.answer)

    async def read_joules(self) -> bytes | None:
        if self.unread:
            return self.unread.pop(0)
        await self.silence.wait()
        return None

    async def write(self, raw: bytes) -> None:
        self.written.append(raw)

    def answer(self) -> None:
        self.answered += 1

    async def respond(self, raw: bytes) -> AsyncGenerator[bytes, None]:
        self.begun += 1
        if self.begun == MAX_REQUESTS:
            self.full.set()
        try:
            await self.gate.wait()
            yield raw
        finally:
            self.left += 1


def test_a_stream_is_read_no_further_than_its_bound_and_answers_everything() -> None:
    async def main() -> None:
        wire = StreamIo(MAX_REQUESTS + 8)
        running = asyncio.create_task(wire.call.run(asyncio.Event()))
        await asyncio.wait_for(wire.full.wait(), PATIENCE_S)
        for _ in range(10):
            await asyncio.sleep(0)  # every chance to read on
        assert len(wire.unread) == 8
        wire.silence.set()
        wire.gate.set()
        assert await asyncio.wait_for(running, PATIENCE_S)
        assert sorted(wire.written) == sorted(b"%d" % one for one in range(MAX_REQUESTS + 8))

    asyncio.run(main())


def test_draining_stops_the_reading_and_answers_what_was_read() -> None:
    async def main() -> None:
        wire, draining = StreamIo(MAX_REQUESTS), asyncio.Event()
        running = asyncio.create_task(wire.call.run(draining))
        await asyncio.wait_for(wire.full.wait(), PATIENCE_S)
        draining.set()
        wire.gate.set()
        assert not await asyncio.wait_for(running, PATIENCE_S)
        assert len(wire.written) == MAX_REQUESTS

    asyncio.run(main())


def test_cancelling_the_call_ends_the_work_on_all_its_requests() -> None:
    async def main() -> None:
        wire = StreamIo(MAX_REQUESTS)
        running = asyncio.create_task(wire.call.run(asyncio.Event()))
        await asyncio.wait_for(wire.full.wait(), PATIENCE_S)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (wire.left, wire.written) == (MAX_REQUESTS, [])

    asyncio.run(main())


def test_work_that_fails_before_the_event_fails_its_waiter() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await run_until_event(asyncio.Event(), fail())

    asyncio.run(main())
