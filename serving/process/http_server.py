"""Listens for HTTP on one socket, and waits for its connections at the end."""

import asyncio
import logging
import socket
import ssl
from typing import Any

from serving.http.connection import HttpConnection
from serving.http.endpoint import HttpEndpoint
from serving.process.ports import BACKLOG

_POLL_S = 0.05
_TLS_TIMEOUT_S = 10.0  # for a handshake, and for the goodbye of a client
_log = logging.getLogger("sparing.http")


class HttpServer:
    """The connections of one listening socket; `open` accepts them, `close` ends them."""

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self._endpoint = endpoint
        self._listening: asyncio.Server | None = None
        self.connections: set[Any] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def open(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections; with `tls`, after its handshake."""
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: HttpConnection(self._endpoint, self),
            sock=listener,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else _TLS_TIMEOUT_S,
            ssl_shutdown_timeout=None if tls is None else _TLS_TIMEOUT_S,
        )

    async def close(self, timeout_s: float) -> None:
        """Accept no more, and answer what has been accepted; after `timeout_s`, cancel it."""
        if self._listening is not None:
            self._listening.close()
        for connection in list(self.connections):
            connection.shutdown()
        try:
            await asyncio.wait_for(self._wait_for_end(), timeout_s)
        except TimeoutError:
            _log.warning("%d HTTP connections were not answered in time", len(self.connections))
            for task in list(self.tasks):
                task.cancel()

    async def _wait_for_end(self) -> None:
        while self.connections or self.tasks:
            await asyncio.sleep(_POLL_S)
