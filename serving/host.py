"""Hosts engine and doors in one process: sockets first, then routes, then doors; and drains at the
end.

On SIGTERM or SIGINT readiness goes away at once, gRPC begins to drain, HTTP answers with
`connection: close` for a short while and then closes; every accepted request is answered before the
process ends. What is hosted is `serving.assembly`'s.
"""

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
import uvloop

from serving.assembly import Assembly, CannotServe, assemble
from serving.http_connection import HttpConnection
from serving.settings import DoorSettings, Settings

_log = logging.getLogger("sparing")

_BACKLOG = 2048


def run(settings: Settings) -> int:
    """Serve until told to stop. 0 after a clean end, 1 when the server could not start (one line
    says why).
    """
    doors = settings.doors
    try:
        listener = _bind(doors.host, doors.http_port)
    except OSError as error:
        return _refuse(f"cannot listen on {doors.host}:{doors.http_port} (HTTP): {error.strerror}")
    with listener:
        return uvloop.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> int:
    try:
        async with assemble(settings) as assembly:
            return await _serve_http(settings.doors, listener, assembly)
    except CannotServe as error:
        return _refuse(str(error))


async def _serve_http(doors: DoorSettings, listener: socket.socket, assembly: Assembly) -> int:
    web = _QuietServer(
        uvicorn.Config(
            assembly.web,
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
            backlog=_BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=math.ceil(doors.drain_timeout_s),
        )
    )
    serving = asyncio.create_task(web.serve(sockets=[listener]))
    stop = _stop_signal()
    _announce(assembly, f"http://{doors.host}:{listener.getsockname()[1]}")
    await asyncio.wait([serving, asyncio.create_task(stop.wait())], return_when="FIRST_COMPLETED")
    _log.info("draining")
    assembly.begin_drain()
    await asyncio.sleep(doors.drain_s)
    web.should_exit = True
    await serving
    clean = await assembly.end_drain()
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


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _announce(assembly: Assembly, http_place: str) -> None:
    print(
        f"Sparing serves {assembly.list_routes()}\n"
        f"  HTTP  {http_place}   gRPC  {assembly.grpc_place}   (process {os.getpid()})",
        flush=True,
    )


def _refuse(why: str) -> int:
    print(f"sparing: {why}", file=sys.stderr, flush=True)
    return 1
