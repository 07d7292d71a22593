"""The parts of the engine and the metrics that the HTTP endpoint uses, and ASGI's types."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

from core.errors import SparingError
from core.messages import Reply, Request
from monitoring.tracing.traces import NO_TRACE, Trace
from serving.engine.admission import Admitted
from serving.engine.calls import Call
from serving.engine.catalog import Catalog, ServedRoute
from serving.http.body import ClientGone, Receive
from serving.scheduling.progress import Health

# ASGI's messages hold values of many types.
Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Engine(Protocol):
    """The part of the engine that this endpoint uses."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def draining(self) -> bool: ...
    def health(self) -> Health: ...
    def resolve(self, route: str, version: str | None) -> ServedRoute: ...
    def stage_loads(self, served: ServedRoute) -> Mapping[str, object]: ...
    def admit(self, request: Request) -> Admitted: ...
    def answer_from_cache(self, request: Request, admitted: Admitted) -> Reply | None: ...
    def submit(self, request: Request, admitted: Admitted, done: Callable[[], object]) -> Call: ...
    def result(self, call: Call) -> Reply: ...
    def release_call(self, call: Call) -> None: ...
    async def answer(self, request: Request, admitted: Admitted | None = None) -> Reply: ...


class Metrics(Protocol):
    """Counts answered requests; `result` is "ok" or the error's class name."""

    def count_request(self, route: str | None, result: str, /) -> None: ...
    def request_results(self, route: str, /) -> Mapping[str, int]: ...
    async def scrape(self, accept: str = "", /) -> tuple[bytes, str]: ...


def count_failure(metrics: Metrics, route: str, error: Exception, trace: Trace = NO_TRACE) -> None:
    """Count a request that failed by its error, and end its trace."""
    if isinstance(error, ClientGone):
        result = "ClientGone"
    else:
        result = type(error).__name__ if isinstance(error, SparingError) else "InternalError"
    metrics.count_request(route, result)
    trace.end(result)


async def refuse_protocol(kind: str, receive: Receive, send: Send) -> None:
    """Accept the lifespan protocol and do nothing in it; close a websocket."""
    if kind == "websocket":
        await send({"type": "websocket.close"})
        return
    while kind == "lifespan":
        step = (await receive())["type"]
        await send({"type": f"{step}.complete"})
        if step == "lifespan.shutdown":
            return
