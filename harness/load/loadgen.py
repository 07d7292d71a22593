"""Closed-loop load over HTTP/1.1 keep-alive: N connections, each with one request at a time.

`run_load` runs it as its own process. It uses little CPU: requests are built in advance, and it
reads only a reply's status, length and the bytes that show that it is correct. It reads the
server's CPU time at both ends of the window. `rpc` has the load over gRPC.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import uvloop

from harness.load.traffic import Traffic, load_traffic
from harness.process_tree import read_cpu_s

DRAIN_S = 10.0
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"  # inference-header-content-length is another


@dataclass(frozen=True, slots=True)
class Plan:
    """Connections and times of a load, and the process tree whose CPU to read (0: none)."""

    connections: int
    seconds: float
    warm_up_s: float = 0.3
    count: int | None = None  # end the window early after so many replies
    server_pid: int = 0
    channels: int = 1  # of gRPC


@dataclass(frozen=True, slots=True)
class Load:
    """The results of one window."""

    requests: int
    errors: int  # not status 200, or no answer
    wrong: int  # answered, but not with the expected bytes
    seconds: float
    requests_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float | None  # of the server's process tree, per request


@dataclass(slots=True)
class Window:
    """Counts shared by all connections; only requests that end while `open` count."""

    traffic: Traffic
    count: int | None
    full: asyncio.Event
    open: bool = False
    stopping: bool = False
    errors: int = 0
    wrong: int = 0
    latencies_s: list[float] = field(default_factory=list)
    _next: int = -1

    def take(self) -> int:
        """Return the index of the next body, cyclically."""
        self._next += 1
        if self._next == len(self.traffic.bodies):
            self._next = 0
        return self._next

    def note(self, index: int, answer: bytes, ok: bool, latency_s: float) -> None:
        right = ok and self.traffic.accepts(index, answer)
        if not ok:
            self.errors += 1  # also outside the window: an error is never warm-up
        elif not right:
            self.wrong += 1
        if self.open:
            self.latencies_s.append(latency_s)
            if self.count is not None and len(self.latencies_s) >= self.count:
                self.full.set()


async def measure(plan: Plan, window: Window, serve: Callable[[], Awaitable[None]]) -> Load:
    """Run `plan.connections` of `serve`, each until `window.stopping`, and measure the middle."""
    workers = [asyncio.ensure_future(serve()) for _ in range(plan.connections)]
    try:
        await asyncio.sleep(plan.warm_up_s)
        cpu_s = read_cpu_s(plan.server_pid) if plan.server_pid else 0.0
        started = time.perf_counter()
        window.open = True
        # A worker that ends too early has lost its server, so the load must stop.
        ended = asyncio.ensure_future(asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED))
        full = asyncio.ensure_future(window.full.wait())
        await asyncio.wait((ended, full), timeout=plan.seconds, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        full.cancel()
        window.open = False
        seconds = time.perf_counter() - started
        cpu_s = read_cpu_s(plan.server_pid) - cpu_s if plan.server_pid else 0.0
        window.stopping = True
        await asyncio.wait(workers, timeout=DRAIN_S)
    finally:
        for worker in workers:
            worker.cancel()
        lost = [end for end in await asyncio.gather(*workers, return_exceptions=True) if end]
    return _summarise(window, seconds, cpu_s if plan.server_pid else None, len(lost))


def _summarise(window: Window, seconds: float, cpu_s: float | None, lost: int) -> Load:
    done = len(window.latencies_s)
    p50, p99 = np.percentile(window.latencies_s, (50, 99)) * 1e3 if done else (np.nan, np.nan)
    return Load(
        requests=done,
        errors=window.errors + lost,
        wrong=window.wrong,
        seconds=seconds,
        requests_s=done / seconds,
        p50_ms=float(p50),
        p99_ms=float(p99),
        cpu_us=None if cpu_s is None else cpu_s * 1e6 / max(done, 1),
    )


class _Connection(asyncio.Protocol):
    """One keep-alive connection with exactly one request in flight at any time."""

    def __init__(
        self, requests: Sequence[bytes], window: Window, ended: asyncio.Future[None]
    ) -> None:
        self._requests = requests
        self._window = window
        self._ended = ended
        self._buffer = b""
        self._needed = 0  # bytes of the answer that is arriving; 0: its head is not complete
        self._body_at = 0
        self._ok = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's shares no base class
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        if not self._needed:
            end = buffer.find(_HEAD_END)
            if end < 0:
                return
            self._body_at = end + 4
            self._ok = buffer[9:12] == b"200"
            self._needed = self._body_at + _content_length(buffer[:end])
        if len(buffer) >= self._needed:
            self._answered(buffer[self._body_at : self._needed])

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(error or ConnectionError("the server closed the connection"))

    def _ask(self) -> None:
        self._index = index = self._window.take()
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests[index])

    def _answered(self, body: bytes) -> None:
        self._window.note(self._index, body, self._ok, time.perf_counter() - self._sent_at)
        self._buffer = b""
        self._needed = 0
        if self._window.stopping:
            self._ended.set_result(None)
            self._transport.close()
        else:
            self._ask()


def _content_length(head: bytes) -> int:
    lower = head.lower()
    start = lower.index(_LENGTH) + len(_LENGTH)
    end = lower.find(b"\r\n", start)
    return int(lower[start : end if end > 0 else len(lower)])


def build_requests(
    bodies: Sequence[bytes], port: int, path: str, headers: Sequence[str]
) -> list[bytes]:
    """Build whole HTTP requests, ready to be written."""
    fixed = "".join(f"{line}\r\n" for line in (f"host: 127.0.0.1:{port}", *headers))
    return [
        f"POST {path} HTTP/1.1\r\n{fixed}content-length: {len(body)}\r\n\r\n".encode() + body
        for body in bodies
    ]


async def load_http(
    plan: Plan, traffic: Traffic, port: int, path: str, headers: Sequence[str] = ()
) -> Load:
    """Closed-loop POSTs to 127.0.0.1:`port`; a refused or lost connection counts as an error."""
    loop = asyncio.get_running_loop()
    requests = build_requests(traffic.bodies, port, path, headers)
    window = Window(traffic, plan.count, asyncio.Event())

    async def serve() -> None:
        ended = loop.create_future()
        transport, _ = await loop.create_connection(
            lambda: _Connection(requests, window, ended), "127.0.0.1", port
        )
        try:
            await ended
        finally:
            transport.close()

    return await measure(plan, window, serve)


def run_load(traffic: Path, plan: Plan, **target: object) -> dict[str, Any]:
    """A load as a process of its own: of the file `traffic`, to the arguments of `load_http` or
    `load_grpc`. Returns the fields of `Load`.
    """
    given = json.dumps({"plan": asdict(plan), **target})
    command = [sys.executable, "-m", "harness.load.loadgen", str(traffic), given]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    traffic, given = load_traffic(Path(sys.argv[1])), json.loads(sys.argv[2])
    plan = Plan(**given.pop("plan"))
    if "method" in given:
        from harness.load.rpc import load_grpc  # HTTP load needs no grpc

        work = load_grpc(plan, traffic, **given)
    else:
        work = load_http(plan, traffic, **given)
    print(json.dumps(asdict(uvloop.run(work))))


if __name__ == "__main__":
    main()
