"""Engines that share a Redis, for tests: each is a process's engine, with toy routes."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from cache.local_cache import LocalCache
from cache.remote_cache import RemoteCache
from core.devices.onnx import OnnxDevice
from harness.waiting import until
from serving.engine.catalog import Catalog, ServedRoute
from serving.engine.engine import Engine
from serving.settings import EngineSettings

SECRET = b"s" * 32
LONG_S = 5.0  # a timeout that is not what a test is about


class Process:
    """An engine with both tiers; make it inside the running loop."""

    def __init__(
        self,
        url: str,
        *routes: ServedRoute,
        timeout_s: float = LONG_S,
        local: LocalCache | None = None,
        remote: dict[str, Any] | None = None,  # RemoteCache's own options
        **settings: Any,
    ) -> None:
        self.remote = RemoteCache(url, SECRET, timeout_s=timeout_s, **(remote or {}))
        self.engine = Engine(
            Catalog(routes),
            EngineSettings(**settings),
            local or LocalCache(1 << 20),
            OnnxDevice(),
            remote_cache=self.remote,
            secret=SECRET,
        )

    async def close(self) -> None:
        self.engine.close()
        await self.remote.close()


def with_processes(
    use: Callable[..., Coroutine[Any, Any, None]], *makers: Callable[[], Process]
) -> None:
    """Run a coroutine with processes made inside the loop, and end them whatever happens."""

    async def main() -> None:
        processes = [make() for make in makers]
        try:
            await asyncio.wait_for(use(*processes), 20.0)
        finally:
            for process in processes:
                await process.close()

    asyncio.run(main())


def make_dear(served: ServedRoute, row_s: float = 60.0) -> ServedRoute:
    """As if its rows had been seen to cost that much device time."""
    served.entry.row_cost.observe(10**6, 10**6 * row_s)
    return served


async def stored(process: Process, rows: int) -> None:
    """Wait until so many answers are in Redis."""
    await until(lambda: process.remote.counts().stores == rows)
