"""Finds the endpoint of a path: a table of fixed paths, and two families of routes' paths. Parsed
paths are remembered. Query strings are parsed here too.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qsl

from core.errors import InvalidInput
from serving.callers import UNKNOWN, Caller
from serving.http.body import HeaderMap, HeaderPairs
from serving.http.status import Response

MAX_QUERY_BYTES = 4096
MAX_QUERY_FIELDS = 64
_MAX_TARGETS = 1024
_MAX_PATH = 512

Result = TypeVar("Result")


class Target(NamedTuple):
    """An endpoint, and the route that its path names, or the file of the console."""

    endpoint: str
    route: str = ""
    version: str | None = None
    file: str = ""


class Client(Protocol):
    """The client of one request, which may disconnect at any time."""

    def receive(self) -> Awaitable[Mapping[str, Any]]:
        """Return the next piece of the body, or the disconnect, as ASGI has them."""

    async def attend(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return the work's result; cancel it and raise ClientGone if the client disconnects. Only
        for a body that is read.
        """


class Incoming(NamedTuple):
    """A request as the server gets it: its head is complete, its body may not be."""

    method: str
    path: str  # without escapes
    query: bytes
    headers: HeaderPairs
    address: str  # of the client; empty if the server knows none
    client: Client


class HttpRequest(NamedTuple):
    """A request that has its endpoint and its caller, before its body is read."""

    target: Target
    headers: HeaderMap
    client: Client
    query: bytes
    caller: Caller = UNKNOWN


class Endpoint(NamedTuple):
    """A method and its handler."""

    method: str
    answer: Callable[[HttpRequest], Awaitable[Response]]


FIXED: Mapping[str, Target] = {
    "/livez": Target("live"),
    "/readyz": Target("ready"),
    "/metrics": Target("metrics"),
    "/openapi.json": Target("openapi"),
    "/v1/routes": Target("routes"),
    "/v1/chat/completions": Target("chat"),
    "/v1/models": Target("models"),
    "/v2": Target("server"),
    "/v2/models/stats": Target("statistics"),
    "/v2/repository/index": Target("index"),
    "/v2/health/live": Target("live"),
    "/v2/health/ready": Target("ready"),
}
_MODEL_ENDPOINTS: Mapping[str, str] = {
    "": "model",
    "ready": "model_ready",
    "infer": "infer",
    "stats": "statistics",
}


class PathTable:
    """Remembered paths: the fixed ones, those of the console, and those of served routes."""

    def __init__(self, console: Mapping[str, str] | None = None) -> None:
        """`console`: the files of the console, by path."""
        files = {} if console is None else console
        self._fixed = {**FIXED, **{path: Target("file", file=name) for path, name in files.items()}}
        self._places = dict(self._fixed)

    def get(self, path: str) -> Target | None:
        return self._places.get(path)

    def remember(self, path: str, target: Target) -> None:
        """Remember a path of a served route; only those, so that no client can fill the memory."""
        if len(path) > _MAX_PATH:  # `auto:<task>` is served under any version
            return
        if len(self._places) >= _MAX_TARGETS:
            self._places = dict(self._fixed)
        self._places[path] = target

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)


def parse_path(path: str) -> Target | None:
    """Return the endpoint of a path; None if there is none. Does not check that the route is
    served.
    """
    if (fixed := FIXED.get(path)) is not None:
        return fixed
    match path.split("/"):
        case ["", "v1", "routes", route, "predict" | "explain" as endpoint] if route:
            return Target(endpoint, route)
        case ["", "v2", "repository", "models", route, "load" | "unload"] if route:
            return Target("change")
        case ["", "v2", "models", route, "versions", version, *rest] if route and version:
            return _model(route, version, rest)
        case ["", "v2", "models", route, *rest] if route:
            return _model(route, None, rest)
        case _:
            return None


def _model(route: str, version: str | None, rest: list[str]) -> Target | None:
    endpoint = _MODEL_ENDPOINTS.get("/".join(rest))
    return None if endpoint is None else Target(endpoint, route, version)


def read_query(query: bytes) -> Mapping[str, str]:
    """Return the fields of a query string. Raises InvalidInput if it is too long."""
    if len(query) > MAX_QUERY_BYTES or query.count(b"&") >= MAX_QUERY_FIELDS:
        raise InvalidInput(
            f"query: given {len(query)} bytes in {query.count(b'&') + 1} fields, allowed"
            f" {MAX_QUERY_BYTES} bytes in {MAX_QUERY_FIELDS}"
        )
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
