"""Hosts engine and doors in one process: sockets first, then routes, then doors; and drains at the
end.

On SIGTERM or SIGINT readiness goes away at once, gRPC begins to drain, HTTP answers with
`connection: close` for a short while and then closes; every accepted request is answered before the
process ends.
"""

import asyncio
import contextlib
import gc
import logging
import math
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
import uvloop

from cache.local import LocalMemory
from core.devices import CpuDevice
from core.errors import ModelDirectoryError
from monitoring.metrics import Metrics, NoMetrics
from serving.catalog import Catalog
from serving.engine import Engine
from serving.http_connection import HttpConnection
from serving.keeper import Keeper, Started, Terminal
from serving.ports import BACKLOG
from serving.reload import Reloader
from serving.rpc import RpcDoor
from serving.settings import Settings
from serving.web import HttpDoor

_log = logging.getLogger("sparing")

_LAST_WORDS_S = 0.2  # for requests on the way when the listener closes
# A stage's thread hands its batch back to a busy loop: waiting the default 5 ms for that is too
# long.
_SWITCH_INTERVAL_S = 0.0005


def run(settings: Settings, keeper: Keeper | None = None) -> int:
    """Serve until told to stop. 0 after a clean end, 1 when the server could not start (the keeper,
    by default the terminal, is told why in one line).
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    keeper = keeper or Terminal()
    doors = settings.doors
    try:
        listener = keeper.listen(doors.host, doors.http_port)
    except OSError as error:
        keeper.refuse(f"cannot listen on {doors.host}:{doors.http_port} (HTTP): {error.strerror}")
        return 1
    with listener:
        return uvloop.run(_serve(settings, listener, keeper))


async def _serve(settings: Settings, listener: socket.socket, keeper: Keeper) -> int:
    metrics: Metrics | NoMetrics = Metrics() if settings.metrics.enabled else NoMetrics()
    device = CpuDevice(settings.engine.state_limit_bytes)
    catalog = Catalog()
    reloader = Reloader(
        settings.routes.directories, catalog, device, metrics, remembers=settings.memory.enabled
    )
    try:
        reloader.refresh()
    except ModelDirectoryError as error:
        keeper.refuse(str(error))
        return 1
    if not catalog.routes():
        folders = ", ".join(str(path) for path in settings.routes.directories)
        keeper.refuse(f"no route could be loaded from {folders}")
        return 1
    memory = LocalMemory(settings.memory.limit_bytes)
    metrics.watch_memory(lambda: _count_memory(memory, settings.memory.limit_bytes))
    gc.collect()
    gc.freeze()  # what start-up made stays: no collection need look at it again
    gc.set_threshold(10_000)
    engine = Engine(catalog, settings.engine, memory, device)
    try:
        return await _serve_doors(settings, listener, keeper, engine, reloader, metrics)
    finally:
        engine.close()


async def _serve_doors(
    settings: Settings,
    listener: socket.socket,
    keeper: Keeper,
    engine: Engine,
    reloader: Reloader,
    metrics: Metrics | NoMetrics,
) -> int:
    doors = settings.doors
    rpc = RpcDoor(engine, doors, metrics, shares_port=keeper.shares_ports)
    try:
        grpc_port = await rpc.start()
    except OSError as error:
        keeper.refuse(f"cannot listen on {doors.host}:{doors.grpc_port} (gRPC): {error.strerror}")
        return 1
    listener.listen(BACKLOG)
    web = _QuietServer(
        uvicorn.Config(
            HttpDoor(engine, doors, metrics),
            loop="none",
            http=HttpConnection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            date_header=False,
            log_config=None,
            backlog=BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=math.ceil(doors.drain_timeout_s),
        )
    )
    serving = asyncio.create_task(web.serve(sockets=[listener]))
    watching = asyncio.create_task(reloader.watch(settings.routes.reload_interval_s))
    stop = _stop_signal()
    names = ", ".join(f"{one.name} v{one.version}" for one in engine.catalog.routes())
    started = Started(names, doors.host, listener.getsockname()[1], grpc_port)
    attending = asyncio.create_task(keeper.attend(started, metrics, stop))
    await asyncio.wait([serving, asyncio.create_task(stop.wait())], return_when="FIRST_COMPLETED")
    _log.info("draining")
    engine.draining = True
    draining = asyncio.create_task(rpc.drain(doors.drain_timeout_s))
    watching.cancel()
    await asyncio.sleep(doors.drain_s)
    for server in web.servers:  # whoever has been accepted still gets an answer, and is told to go
        server.close()
    await asyncio.sleep(min(_LAST_WORDS_S, doors.drain_s))
    web.should_exit = True
    await asyncio.gather(serving, draining)
    clean = await engine.drain(doors.drain_timeout_s)
    attending.cancel()
    _log.info("stopped%s", "" if clean else " with requests unanswered")
    return 0 if clean else 1


class _QuietServer(uvicorn.Server):
    """Leaves signals to this module."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _count_memory(memory: LocalMemory, limit_bytes: int) -> dict[str, int]:
    counts = memory.counts()
    return {
        "hits": counts.hits,
        "misses": counts.misses,
        "stores": counts.stores,
        "evictions": counts.evictions,
        "expirations": counts.expirations,
        "rejected": counts.rejected,
        "entries": counts.entries,
        "bytes": counts.size_bytes,
        "limit_bytes": limit_bytes,
    }
