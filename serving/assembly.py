"""Builds a server from its settings: engine, cache, reloader, both endpoints, on one event loop.

Every host opens this same assembly. Processes, sockets and signals belong to the host:
`serving.process.host` for `sparing serve`, `serving.process.embedded_server` inside another server.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from cache.local_cache import LocalCache
from core.errors import ModelDirectoryError
from monitoring.access_log import AccessLog
from monitoring.metrics.collector import Metrics
from monitoring.metrics.switched_off import NoMetrics
from monitoring.tracing.sampling import NO_TRACING, Tracing
from serving.callers import Callers
from serving.configuration.certificates import open_tls
from serving.configuration.tokens import Tokens, list_token_files, open_tokens
from serving.configuration.watched_files import LOOK_INTERVAL_S, FileWatch
from serving.devices import open_devices
from serving.energy import open_sampler
from serving.engine.caches.perceptual_cache import PerceptualRoutes
from serving.engine.caches.remote_cache import open_remote_cache
from serving.engine.catalog import Catalog
from serving.engine.engine import Engine
from serving.engine_metrics import add_readers
from serving.grpc.endpoint import GrpcEndpoint
from serving.http.endpoint import HttpEndpoint
from serving.open_tracing import open_tracing
from serving.reload import Reloader
from serving.settings import ServerSettings, Settings
from serving.watcher import Watcher

# A thread that computes a stage hands its batch back to a busy event loop. Waiting the default 5 ms
# for the interpreter lock is too long for that.
_SWITCH_INTERVAL_S = 0.0005

S = TypeVar("S")
T = TypeVar("T")


class StartupError(Exception):
    """The server cannot start with these settings; the message gives the reason in one sentence."""


class Assembly:
    """The parts of a running server: the HTTP endpoint, for the host to attach to a socket, and the
    gRPC endpoint, which listens by itself.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        reloader: Reloader,
        metrics: Metrics | NoMetrics,
        *,
        tracing: Tracing = NO_TRACING,
        shares_ports: bool = False,
        files: FileWatch | None = None,
    ) -> None:
        """Raises ValueError if a file that the settings of the endpoints name cannot be used."""
        self.engine = engine
        self.metrics = metrics
        self._files = FileWatch() if files is None else files
        max_rows = settings.engine.max_rows_per_request
        callers = self._open_callers(settings.server)
        self.tls = open_tls(settings.server, self._files)  # for the host's HTTP socket
        access = AccessLog() if settings.server.access_log else None
        self.web = HttpEndpoint(
            engine,
            settings.server,
            metrics,
            tracing,
            max_rows=max_rows,
            callers=callers,
            access=access,
        )
        self.grpc_port = 0  # until `open` sets it
        self._endpoint_settings = settings.server
        self._grpc = GrpcEndpoint(
            engine,
            settings.server,
            metrics,
            tracing=tracing,
            shares_port=shares_ports,
            max_rows=max_rows,
            callers=callers,
            access=access,
            tls=self.tls,
        )
        self._file_watcher = Watcher(self._files.look, LOOK_INTERVAL_S)
        self._watcher = Watcher(reloader.refresh, settings.routes.reload_interval_s)
        self._draining: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen for gRPC and watch the route directories. Raises StartupError."""
        try:
            self.grpc_port = await self._grpc.start()
        except OSError as error:
            place = f"{self._endpoint_settings.host}:{self._endpoint_settings.grpc_port}"
            raise StartupError(f"cannot listen on {place} (gRPC): {error.strerror}") from error
        self._watcher.start()
        if self._files:
            self._file_watcher.start()

    def list_routes(self) -> str:
        """Return the names and versions of all served routes, for the log."""
        return ", ".join(f"{one.name} v{one.version}" for one in self.engine.catalog.routes())

    @property
    def grpc_address(self) -> str:
        """The address and port of the gRPC endpoint."""
        return f"{self._endpoint_settings.host}:{self.grpc_port}"

    def begin_drain(self) -> None:
        """Report not ready, accept no more gRPC calls, answer HTTP with `connection: close`."""
        self.engine.draining = True
        self._watcher.stop()
        self._file_watcher.stop()
        if self._draining is None:
            self._draining = asyncio.create_task(
                self._grpc.drain(self._endpoint_settings.drain_timeout_s)
            )

    async def end_drain(self, deadline: float | None = None) -> bool:
        """Wait until every accepted request is answered; return False if time ran out before.

        `deadline` is a time of the event loop's clock in seconds; None gives the whole drain
        timeout.
        """
        self.begin_drain()
        assert self._draining is not None
        await self._draining
        if deadline is None:
            return await self.engine.drain(self._endpoint_settings.drain_timeout_s)
        return await self.engine.drain(max(0.0, deadline - asyncio.get_running_loop().time()))

    def _open_callers(self, settings: ServerSettings) -> Callers:
        tokens = open_tokens(settings)
        callers = Callers(settings, tokens.value)

        def use(changed: Tokens) -> None:
            callers.use_tokens(changed)
            self.web.connections.forget_requests()

        if paths := list_token_files(settings):
            self._files.add(tokens, use)
        for setting, path in paths.items():
            self._files.warn_if_public(setting, path)
        return callers


@asynccontextmanager
async def assemble(settings: Settings, *, worker: int = 0) -> AsyncIterator[Assembly]:
    """Yield an open assembly; the host must drain it before it leaves this context.

    `worker` is the process's number among several that share its ports; 0 for a single process.
    Raises StartupError.
    """
    metrics: Metrics | NoMetrics = Metrics() if settings.metrics.enabled else NoMetrics()
    try:
        tracing, close_tracing = open_tracing(settings.tracing)
    except ValueError as error:
        raise StartupError(str(error)) from error
    files = FileWatch(warns=worker <= 1)
    try:
        async with open_engine(settings, metrics, worker, files) as (engine, reloader):
            try:
                assembly = Assembly(
                    settings,
                    engine,
                    reloader,
                    metrics,
                    tracing=tracing,
                    shares_ports=worker > 0,
                    files=files,
                )
            except ValueError as error:
                raise StartupError(str(error)) from error
            try:
                await assembly.open()
                yield assembly
            finally:
                assembly.web.close()
    finally:
        await close_tracing()


@asynccontextmanager
async def open_engine(
    settings: Settings,
    metrics: Metrics | NoMetrics,
    worker: int = 0,
    files: FileWatch | None = None,
) -> AsyncIterator[tuple[Engine, Reloader]]:
    """Yield an engine over all routes that can be loaded. Raises StartupError if there is none."""
    devices = _start(open_devices, settings)
    catalog = Catalog()
    reloader = Reloader(
        settings.routes.directories,
        catalog,
        devices,
        metrics,
        is_cached=settings.cache.enabled,
        similar=PerceptualRoutes(settings.cache.perceptual.routes),
    )
    try:
        reloader.refresh()
    except ModelDirectoryError as error:
        raise StartupError(str(error)) from error
    if not catalog.routes():
        folders = ", ".join(str(path) for path in settings.routes.directories)
        raise StartupError(f"no route could be loaded from {folders}")
    try:
        tier, secret = open_remote_cache(settings.cache, files)
    except ValueError as error:
        raise StartupError(str(error)) from error
    memory = LocalCache(settings.cache.limit_bytes)
    engine = Engine(
        catalog, settings.engine, memory, *devices.devices, remote_cache=tier, secret=secret
    )
    add_readers(metrics, engine, settings)
    try:
        sampler = open_sampler(settings.energy, metrics, engine.device_s, worker)
    except ValueError as error:
        engine.close()
        raise StartupError(str(error)) from error
    sampling = None
    if sampler is not None:
        sampling = asyncio.create_task(sampler.run(settings.energy.interval_s))
    _tune_process()
    try:
        yield engine, reloader
    finally:
        if sampling is not None:
            sampling.cancel()
        engine.close()
        if tier is not None:
            await tier.close()


def _start(make: Callable[[S], T], settings: S) -> T:
    """Make a part of the server from its settings. Raises StartupError."""
    try:
        return make(settings)
    except ValueError as error:
        raise StartupError(str(error)) from error


def _tune_process() -> None:
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()  # objects made at start-up live on: the collector can skip them
    gc.set_threshold(10_000)
