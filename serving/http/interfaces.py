"""The parts of the engine and the metrics that the HTTP endpoint uses."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from cache.local_cache import LocalCache
from core.errors import SparingError
from core.messages import Key, Reply, Request
from monitoring.tracing.traces import NO_TRACE, Trace
from serving.engine.admission import Admitted
from serving.engine.caches.cached_rows import CachedRows
from serving.engine.calls import Call
from serving.engine.catalog import Catalog, ServedRoute
from serving.engine.group_calls import GroupCall
from serving.http.body import ClientGone
from serving.http.infer.tensor_body import ParsedRequest
from serving.scheduling.progress import Health


class AdmittedRequest(NamedTuple):
    """An infer request that the engine has admitted."""

    parsed: ParsedRequest
    admitted: Admitted


class BegunCall(NamedTuple):
    """An infer request in the engine, and its body, whose bytes it holds."""

    request: AdmittedRequest
    body: bytes
    call: Call


class Engine(Protocol):
    """The part of the engine that this endpoint uses."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def memory(self) -> LocalCache: ...
    @property
    def draining(self) -> bool: ...
    def health(self) -> Health: ...
    def resolve(self, route: str, version: str | None, key: str = "") -> ServedRoute: ...
    @property
    def cached_rows(self) -> CachedRows: ...
    def admit(self, request: Request, key: Key | None = None) -> Admitted: ...
    def gathers(self, served: ServedRoute) -> bool: ...
    def admit_group(
        self, request: Request, served: ServedRoute, keys: Sequence[Key | None]
    ) -> Admitted: ...
    def answer_from_cache(self, request: Request, admitted: Admitted) -> Reply | None: ...
    def submit(self, request: Request, admitted: Admitted, done: Callable[[], object]) -> Call: ...
    def submit_group(
        self, request: Request, admitted: Admitted, done: Callable[[], object]
    ) -> GroupCall: ...
    def release_row(self, call: GroupCall, row: int) -> None: ...
    def result(self, call: Call) -> Reply: ...
    def release_call(self, call: Call) -> None: ...
    async def answer(self, request: Request, admitted: Admitted | None = None) -> Reply: ...
    def infer(self, request: Request, admitted: Admitted | None = None) -> AsyncIterator[Reply]: ...


class Metrics(Protocol):
    """Counts answered requests; `result` is "ok" or the error's class name."""

    def count_request(self, route: str | None, result: str, requests: int = 1, /) -> None: ...
    def request_results(self, route: str, /) -> Mapping[str, int]: ...
    async def scrape(self, accept: str = "", /) -> tuple[bytes, str]: ...


def count_failure(metrics: Metrics, route: str, error: Exception, trace: Trace = NO_TRACE) -> str:
    """Count a request that failed by its error, end its trace, and return how it was counted."""
    if isinstance(error, ClientGone):
        result = "ClientGone"
    else:
        result = type(error).__name__ if isinstance(error, SparingError) else "InternalError"
    metrics.count_request(route, result)
    trace.end(result)
    return result
