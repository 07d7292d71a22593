"""An engine without threads, sockets or real time: the test turns its loop and ends its batches."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from cache.local_cache import LocalCache
from core.devices.interface import Device
from core.devices.onnx import OnnxDevice
from core.errors import SparingError
from core.messages import Reply, Request
from serving.engine.calls import Call
from serving.engine.catalog import Catalog, ServedRoute
from serving.engine.engine import Engine
from serving.scheduling.device_thread import Done, run_batch
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block
from serving.settings import EngineSettings

MAX_PASSES = 10_000


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Handle:
    """Stands for asyncio's handles."""

    def __init__(self, callback: Callable[..., object], args: Sequence[object]) -> None:
        self.callback, self.args = callback, args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """What the engine needs of an event loop; one `turn` is one pass."""

    def __init__(self, clock: Clock) -> None:
        self.ready: deque[Handle] = deque()
        self.timers: list[tuple[float, int, Handle]] = []
        self._clock = clock
        self._order = 0

    def call_soon(self, callback: Callable[..., object], *args: object) -> Handle:
        self.ready.append(Handle(callback, args))
        return self.ready[-1]

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: object) -> Handle:
        handle = Handle(callback, args)
        self._order += 1
        heapq.heappush(self.timers, (self._clock.now + delay_s, self._order, handle))
        return handle

    def turn(self) -> bool:
        """Run what is ready now; false when nothing is."""
        while self.timers and self.timers[0][0] <= self._clock.now:
            self.ready.append(heapq.heappop(self.timers)[2])
        for _ in range(len(self.ready)):
            handle = self.ready.popleft()
            if not handle.cancelled:
                handle.callback(*handle.args)
        return bool(self.ready)


class Thread:
    """Stands for the device's thread: a batch waits until the test ends it."""

    def __init__(self, device: Device, done: Done) -> None:
        self._device, self._done = device, done
        self.job: tuple[Lane, list[Block]] | None = None
        self.taken: list[tuple[Lane, list[Block]]] = []

    def submit(self, lane: Lane, blocks: list[Block]) -> None:
        assert self.job is None, "two batches at once"
        self.job = (lane, blocks)
        self.taken.append(self.job)

    def end(self, run_s: float) -> None:
        assert self.job is not None
        lane, blocks = self.job
        self.job = None
        self._done(lane, blocks, run_batch(self._device, lane, blocks), run_s, run_s)

    def device_s(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


def count_rows(blocks: Sequence[Block]) -> int:
    return sum(len(block) for block in blocks)


class Stepped:
    """The engine, its calls and what became of them, in order."""

    def __init__(
        self, *routes: ServedRoute, device: OnnxDevice | None = None, **settings: Any
    ) -> None:
        self.clock = Clock()
        self.loop = Loop(self.clock)
        self.thread: Thread
        self.engine = Engine(
            Catalog(routes),
            EngineSettings(**settings),
            LocalCache(1 << 20),
            device or OnnxDevice(),
            loop=self.loop,  # type: ignore[arg-type]
            clock=self.clock,
            make_device_thread=self._make_thread,
        )
        ((_, self.scheduler),) = self.engine.schedulers
        self.open: list[Call] = []
        self.ends: list[str] = []  # one for every call that was begun or refused
        self.replies: list[tuple[Request, Reply]] = []

    def submit(self, request: Request) -> Call | None:
        """Begin a call; what comes of it goes to `ends`, once."""
        found: list[Call] = []
        try:
            call = self.engine.submit(
                request, self.engine.admit(request), lambda: self.loop.call_soon(self._over, found)
            )
        except SparingError as error:
            self.ends.append(type(error).__name__)
            return None
        found.append(call)
        self.open.append(call)
        return call

    def cancel(self, call: Call) -> None:
        """The client goes away."""
        if call in self.open:
            self.open.remove(call)
            self.engine.release_call(call)
            self.ends.append("cancelled")

    def spin(self) -> int:
        """Turn the loop until it has nothing to do; how many passes that took."""
        for passes in range(MAX_PASSES):
            if not self.loop.turn() and not self.loop.ready:
                return passes
        raise AssertionError("the loop never comes to rest")

    def end_batch(self, run_s: float | None = None) -> None:
        """End the batch that runs, after its predicted seconds or others."""
        assert self.thread.job is not None
        lane, blocks = self.thread.job
        run_s = lane.times.predict_s(count_rows(blocks)) if run_s is None else run_s
        self.clock.now += run_s
        self.loop.call_soon(self.thread.end, run_s)
        self.spin()

    def finish(self) -> list[str]:
        """Run to the end."""
        self.spin()
        while self.thread.job is not None:
            self.end_batch()
        return self.ends

    def _make_thread(self, device: Device, _loop: asyncio.AbstractEventLoop, done: Done) -> Thread:
        self.thread = Thread(device, done)
        return self.thread

    def _over(self, found: list[Call]) -> None:
        (call,) = found
        if call not in self.open:  # its client went away
            return
        self.open.remove(call)
        self.engine.release_call(call)
        try:
            self.replies.append((call.request, self.engine.result(call)))
        except SparingError as error:
            self.ends.append(type(error).__name__)
        else:
            self.ends.append("ok")
