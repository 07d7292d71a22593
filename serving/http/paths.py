"""Which endpoint a path means: a literal table of the fixed ones, and two families of routes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from serving.callers import UNKNOWN, Caller
from serving.engine.admission import Admitted
from serving.http.body import HeaderMap, Receive
from serving.http.infer.tensor_body import Asked
from serving.http.status import Response


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
