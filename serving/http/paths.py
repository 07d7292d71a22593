"""Which endpoint a path means: a literal table of the fixed ones, and two families of routes. What
was read of paths is remembered; queries are read here too.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote

from core.errors import InvalidInput
from serving.callers import UNKNOWN, Caller
from serving.engine.admission import Admitted
from serving.http.body import HeaderMap, Receive
from serving.http.infer.tensor_body import Asked
from serving.http.status import Response

MAX_QUERY_BYTES = 4096
MAX_QUERY_FIELDS = 64
_MAX_PLACES = 1024
_MAX_PATH = 512


class Place(NamedTuple):
    """An endpoint, and the route that its path names."""

    endpoint: str
    route: str = ""
    version: str | None = None


class Known(NamedTuple):
    """An infer request that was read and admitted before its visit began."""

    asked: Asked
    admitted: Admitted


class Visit(NamedTuple):
    """One request, before its body is read."""

    place: Place
    headers: HeaderMap
    receive: Receive
    query: bytes
    known: Known | None = None  # what the connection found out before
    caller: Caller = UNKNOWN


class Endpoint(NamedTuple):
    """What answers visits of a place."""

    method: str
    answer: Callable[[Visit], Awaitable[Response]]


FIXED: Mapping[str, Place] = {
    "/livez": Place("live"),
    "/readyz": Place("ready"),
    "/metrics": Place("metrics"),
    "/openapi.json": Place("openapi"),
    "/v1/routes": Place("routes"),
    "/v2": Place("server"),
    "/v2/models/stats": Place("statistics"),
    "/v2/repository/index": Place("index"),
    "/v2/health/live": Place("live"),
    "/v2/health/ready": Place("ready"),
}
_MODEL_ENDPOINTS: Mapping[str, str] = {
    "": "model",
    "ready": "model_ready",
    "infer": "infer",
    "stats": "statistics",
}


class Places:
    """What is remembered of paths: the fixed ones, and those of served routes."""

    def __init__(self) -> None:
        self._places = dict(FIXED)
        self.urls: dict[bytes, Place] = {}  # of infer endpoints, as they come over the wire

    def get(self, path: str) -> Place | None:
        return self._places.get(path)

    def remember(self, path: str, place: Place) -> None:
        """Only where its route is served, so that no client can fill the memory."""
        if len(path) > _MAX_PATH:  # `auto:<task>` is served under any version
            return
        if len(self._places) >= _MAX_PLACES:
            self._places = dict(FIXED)
            self.urls = {}
        self._places[path] = place
        if place.endpoint == "infer" and quote(path, safe="/:") == path:
            self.urls[path.encode()] = place

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)


def read_place(path: str) -> Place | None:
    """None when no endpoint has this path. That the route is served is not checked here."""
    if (fixed := FIXED.get(path)) is not None:
        return fixed
    match path.split("/"):
        case ["", "v1", "routes", route, "predict"] if route:
            return Place("predict", route)
        case ["", "v2", "repository", "models", route, "load" | "unload"] if route:
            return Place("change")
        case ["", "v2", "models", route, "versions", version, *rest] if route and version:
            return _model(route, version, rest)
        case ["", "v2", "models", route, *rest] if route:
            return _model(route, None, rest)
        case _:
            return None


def _model(route: str, version: str | None, rest: list[str]) -> Place | None:
    endpoint = _MODEL_ENDPOINTS.get("/".join(rest))
    return None if endpoint is None else Place(endpoint, route, version)


def read_query(query: bytes) -> Mapping[str, str]:
    if len(query) > MAX_QUERY_BYTES or query.count(b"&") >= MAX_QUERY_FIELDS:
        raise InvalidInput(
            f"query: given {len(query)} bytes in {query.count(b'&') + 1} fields, allowed"
            f" {MAX_QUERY_BYTES} bytes in {MAX_QUERY_FIELDS}"
        )
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
