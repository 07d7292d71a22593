"""Cancels the calls of disconnected clients, at no cost for calls that are answered soon.

Noticing a disconnect needs a task that waits on the connection. So calls are only registered, and a
sweep gives a watcher to those that have waited for a whole interval.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from serving.http.body import ClientGone, Receive

SWEEP_INTERVAL_S = 0.05

Result = TypeVar("Result")


class _WatchedCall:
    """One call under way: its task, and the watcher of its connection."""

    __slots__ = ("gone", "receive", "swept", "task", "watcher")

    def __init__(self, task: asyncio.Task[Any], receive: Receive) -> None:
        self.task = task
        self.receive = receive
        self.swept = False
        self.watcher: asyncio.Task[None] | None = None
        self.gone = False


class Disconnects:
    """Waits for calls and cancels them when their clients disconnect; one for each event loop."""

    def __init__(self, interval_s: float = SWEEP_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._calls: set[_WatchedCall] = set()
        self._sweeping = False

    async def wait(self, work: Coroutine[Any, Any, Result], receive: Receive) -> Result:
        """Run `work` and return its result; cancel it and raise ClientGone if the client
        disconnects.
        """
        task = asyncio.current_task()
        assert task is not None
        call = _WatchedCall(task, receive)
        self._calls.add(call)
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(self._interval_s, self._sweep)
        try:
            return await work
        except asyncio.CancelledError:
            if call.gone and task.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            self._calls.discard(call)
            if call.watcher is not None:
                call.watcher.cancel()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for call in self._calls:
            if call.swept and call.watcher is None:
                call.watcher = loop.create_task(_watch(call))
            call.swept = True
        self._sweeping = bool(self._calls)
        if self._sweeping:
            loop.call_later(self._interval_s, self._sweep)


async def _watch(call: _WatchedCall) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass
    call.gone = True
    call.task.cancel()
