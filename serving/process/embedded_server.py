"""Embeds the engine and its endpoints in another server, that of an ASGI framework.

The host starts and stops the process, listens for HTTP and keeps its own pages. `EmbeddedServer`
opens when the host starts and closes when it shuts down. A signal to stop reaches the embedded
server first, so that it reports not ready and drains gRPC at once; the host gets the signal a
moment later. `EmbeddingApp` is what the host puts into its stack: it passes this project's paths to
the HTTP endpoint. If the host runs uvicorn, its connections become this project's own, so that
requests skip everything that the host does for each request, and have the same limits.
"""

import asyncio
import logging
import math
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from types import FrameType

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from monitoring.metrics.switched_off import NoMetrics
from serving.assembly import Assembly, StartupError, assemble, open_engine
from serving.configuration.certificates import open_tls
from serving.configuration.tokens import read_tokens
from serving.configuration.watched_files import FileWatch
from serving.http.asgi import Application, AsgiApplication, Scope, Send
from serving.http.body import Receive
from serving.http.connection import HttpConnection
from serving.http.endpoint import HttpEndpoint
from serving.process.host_pages import HostPages, is_ours
from serving.settings import Settings

_log = logging.getLogger("sparing")

Handler = Callable[[int, FrameType | None], object]


def check_routes(read_settings: Callable[[], Settings]) -> None:
    """Load the routes and release them. Raises StartupError if the server could not start, except
    for a port in use.
    """

    async def try_engine() -> None:
        settings = read_settings()
        read_tokens(settings.server)
        open_tls(settings.server, FileWatch(warns=False))
        async with open_engine(settings, NoMetrics()):
            pass

    try:
        asyncio.run(try_engine())
    except ValueError as error:
        raise StartupError(str(error)) from error


class EmbeddedServer:
    """The embedded server. Call `open` once and `close` once, on the host's loop in the main
    thread.
    """

    def __init__(self, read_settings: Callable[[], Settings]) -> None:
        self._read_settings = read_settings
        self._opened = AsyncExitStack()
        self._assembly: Assembly | None = None
        self._signal_handlers: set[int] = set()
        self.settings = Settings()

    @property
    def endpoint(self) -> HttpEndpoint | None:
        """The HTTP endpoint; None before `open`."""
        return None if self._assembly is None else self._assembly.web

    async def open(self) -> None:
        """Load the routes and listen for gRPC. Raises StartupError."""
        try:
            self.settings = self._read_settings()
            assembly = await self._opened.enter_async_context(assemble(self.settings))
        except (StartupError, ValueError) as error:
            _log.error("sparing: %s", error)
            raise StartupError(str(error)) from error
        self._assembly = assembly
        self._listen_for_signals()
        _log.info("serving %s; gRPC %s", assembly.list_routes(), assembly.grpc_address)

    async def close(self) -> None:
        """Answer everything that was accepted, then end."""
        if self._assembly is None:
            return
        clean = await self._assembly.end_drain()
        await self._opened.aclose()
        _log.info("stopped%s", "" if clean else " with requests unanswered")

    def _listen_for_signals(self) -> None:
        """Handle stop signals before the host does; a signal without a handler stays without
        one.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, partial(self._handle_message, loop, handler))

    def _handle_message(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: Handler,
        number: int,
        frame: FrameType | None,
    ) -> None:
        loop.call_soon_threadsafe(self._stop, loop, handler, number)

    def _stop(self, loop: asyncio.AbstractEventLoop, handler: Handler, number: int) -> None:
        """Drain now and let the host close its sockets later; a repeated signal goes to the
        host.
        """
        assert self._assembly is not None
        if number in self._signal_handlers:
            handler(number, None)
            return
        self._signal_handlers.add(number)
        if len(self._signal_handlers) == 1:
            _log.info("draining")
            self._assembly.begin_drain()
            loop.call_later(self.settings.server.drain_s, handler, number, None)


class EmbeddingApp:
    """An ASGI application around another: it takes this project's paths and passes all others
    on.
    """

    def __init__(self, app: Application, embedded: EmbeddedServer) -> None:
        self._app = app
        self._embedded = embedded
        self._ours: AsgiApplication | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        endpoint = self._embedded.endpoint
        if endpoint is None or not is_ours(scope["path"]):
            await self._app(scope, receive, send)
            return
        if self._ours is None:
            self._ours = AsgiApplication(endpoint)
        await self._ours(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Scope) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._move_to_sockets(receive)
            await send(message)

        await self._app(scope, receive, tell)

    def _move_to_sockets(self, receive: Receive) -> None:
        """Make uvicorn create this project's connections; the host's pages are asked from them.

        The server listens only after this. A server with another structure than expected is left
        alone: every request then goes through the host's stack and costs more CPU.
        """
        endpoint = self._embedded.endpoint
        config = getattr(getattr(receive, "__self__", None), "config", None)
        if (
            endpoint is None
            or not isinstance(config, Config)
            or config.http_protocol_class is not HttpToolsProtocol
        ):
            _log.warning("requests go through the host's stack, which costs more CPU")
            return
        pages = HostPages(config.loaded_app, endpoint)

        def connect(*, server_state: ServerState, **_others: object) -> HttpConnection:
            return HttpConnection(endpoint, server_state, pages.answer)

        config.http_protocol_class = connect  # type: ignore[assignment]
        if config.timeout_graceful_shutdown is None:
            config.timeout_graceful_shutdown = math.ceil(
                self._embedded.settings.server.drain_timeout_s
            )
