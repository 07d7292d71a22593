"""Runs engine and endpoints in one process: sockets first, then routes, then endpoints; then
drains.

On SIGTERM or SIGINT the server reports not ready at once, gRPC begins to drain, HTTP answers with
`connection: close` for a short time and then closes. Every accepted request is answered before the
process ends. `serving.assembly` builds what runs here.
"""

import asyncio
import logging
import signal
import socket

import uvloop

from serving.assembly import Assembly, StartupError, assemble
from serving.process.allocator import return_free_pages, tune_allocator
from serving.process.exit_guard import EXIT_GRACE_S, ExitGuard, end_process
from serving.process.http_server import HttpServer
from serving.process.parent_process import ParentProcess, Started, Terminal
from serving.process.ports import BACKLOG, allow_connections
from serving.settings import ServerSettings, Settings

_FEW_CONNECTIONS = 1024

_log = logging.getLogger("sparing")


def run(settings: Settings, parent: ParentProcess | None = None) -> int:
    """Serve until told to stop. Return 0 after a clean end, 1 if the server could not start.

    The parent, by default the terminal, then gets the reason in one line.
    """
    parent = parent or Terminal(settings.log.format)
    endpoint_settings = settings.server
    try:
        listener = parent.listen(endpoint_settings.host, endpoint_settings.http_port)
    except OSError as error:
        parent.report_failure(
            f"cannot listen on {endpoint_settings.host}:{endpoint_settings.http_port} (HTTP): "
            f"{error.strerror}"
        )
        return 1
    tune_allocator()
    with listener:
        return uvloop.run(_serve(settings, listener, parent))


async def _serve(settings: Settings, listener: socket.socket, parent: ParentProcess) -> int:
    try:
        async with assemble(settings, worker=parent.worker) as assembly:
            return await _serve_http(settings.server, listener, parent, assembly)
    except StartupError as error:
        parent.report_failure(str(error))
        return 1


async def _serve_http(
    endpoint_settings: ServerSettings,
    listener: socket.socket,
    parent: ParentProcess,
    assembly: Assembly,
) -> int:
    listener.listen(BACKLOG)
    allowed = allow_connections(endpoint_settings.max_connections)
    assembly.web.connections.limit_connections(allowed)
    if allowed < endpoint_settings.max_connections:
        _warn_fewer_connections(endpoint_settings.max_connections, allowed)
    web = HttpServer(assembly.web)
    await web.open(listener, None if assembly.tls is None else assembly.tls.context)
    stop = _stop_signal()
    started = Started(
        assembly.list_routes(),
        endpoint_settings.host,
        listener.getsockname()[1],
        assembly.grpc_port,
        is_tls=assembly.tls is not None,
    )
    attending = asyncio.create_task(_attend_parent(parent, started, assembly, stop))
    trimming = asyncio.create_task(return_free_pages())
    await stop.wait()
    _log.info("draining")
    trimming.cancel()
    limit_s = endpoint_settings.drain_s + endpoint_settings.drain_timeout_s
    ExitGuard().arm(limit_s + EXIT_GRACE_S)
    deadline = asyncio.get_running_loop().time() + limit_s
    assembly.begin_drain()
    await asyncio.sleep(endpoint_settings.drain_s)
    await web.close(endpoint_settings.drain_timeout_s)
    clean = await assembly.end_drain(deadline)
    attending.cancel()
    await asyncio.wait([attending])
    if not clean:
        _log.warning("stopped with requests unanswered")
        end_process(1)  # does not wait for calls that hang, such as a model's native call
    _log.info("stopped")
    return 0


def _warn_fewer_connections(wanted: int, allowed: int) -> None:
    """Log that fewer connections are possible than wanted. Many machines allow fewer than the
    default, so only a number from the settings is worth a warning.
    """
    is_given = wanted != ServerSettings().max_connections
    _log.log(
        logging.WARNING if is_given or allowed < _FEW_CONNECTIONS else logging.INFO,
        "server.max_connections: %d, but the limit of open files allows %d",
        wanted,
        allowed,
    )


async def _attend_parent(
    parent: ParentProcess, started: Started, assembly: Assembly, stop: asyncio.Event
) -> None:
    await parent.report_ready(started, assembly.metrics, stop, lambda: assembly.engine.health().why)


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
