"""One pass over a list of requests: N connections share it, each sends the next after a reply.

For experiments in which the order and number of requests matter, as with caches; `loadgen` repeats
requests for a time instead. Uses HTTP/1.1 keep-alive to 127.0.0.1.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

REQUEST_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Pass:
    """The replies in the order of the requests, with the time of each request and its latency."""

    answers: Sequence[tuple[bytes, int]]  # body, and the length of a binary reply's JSON head
    asked_s: Sequence[float]  # seconds since the first request
    latencies_s: Sequence[float]
    seconds: float


async def ask_once(
    port: int, requests: Sequence[bytes], connections: int, due_s: Sequence[float] = ()
) -> Pass:
    """Send every request once; with `due_s`, not before its time in seconds since the first.

    Raises RuntimeError for a status other than 200, and OSError without a reply.
    """
    answers = [(b"", 0)] * len(requests)
    asked_s, latencies_s = [0.0] * len(requests), [0.0] * len(requests)
    waiting = iter(range(len(requests)))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for index in waiting:
                if due_s:
                    await asyncio.sleep(max(0.0, started + due_s[index] - time.perf_counter()))
                sent_at = time.perf_counter()
                writer.write(requests[index])
                answers[index] = await asyncio.wait_for(_read_answer(reader), REQUEST_LIMIT_S)
                asked_s[index] = sent_at - started
                latencies_s[index] = time.perf_counter() - sent_at
        finally:
            writer.close()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(ask())
    return Pass(answers, asked_s, latencies_s, time.perf_counter() - started)


async def _read_answer(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    body = await reader.readexactly(int(fields[b"content-length"]))
    if head[9:12] != b"200":
        raise RuntimeError(f"answered {head[9:12].decode()}: {body[:300]!r}")
    return body, int(fields.get(b"inference-header-content-length", 0))
