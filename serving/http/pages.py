"""The read-only endpoints: health, metadata, served routes, metrics, the OpenAPI document, and the
files of the console.
"""

from collections.abc import Mapping

import orjson

from core.errors import InvalidInput
from core.generation import find_generation
from core.version import read_version
from serving.console.files import read_file
from serving.http.explain.picture import find_drawer
from serving.http.infer.tensor_body import JSON_TYPE
from serving.http.interfaces import Engine, Metrics
from serving.http.openapi.document import make_document
from serving.http.routing import Endpoint, HttpRequest
from serving.http.status import NOT_MODIFIED, Response
from serving.oip.descriptions import EXTENSIONS, describe_model, describe_route, describe_statistics
from serving.oip.statistics import READ_ONLY, read_index, read_statistics

DRAINING = "the server is shutting down, send no new requests"


def make_info_endpoints(engine: Engine, metrics: Metrics) -> Mapping[str, Endpoint]:
    """Return the endpoints under the names in `serving.http.routing`."""
    pages = _InfoEndpoints(engine, metrics)
    return {
        "live": Endpoint("GET", pages.live),
        "ready": Endpoint("GET", pages.ready),
        "model": Endpoint("GET", pages.model),
        "model_ready": Endpoint("GET", pages.model_ready),
        "server": Endpoint("GET", pages.server),
        "routes": Endpoint("GET", pages.routes),
        "metrics": Endpoint("GET", pages.metrics),
        "openapi": Endpoint("GET", pages.openapi),
        "statistics": Endpoint("GET", pages.statistics),
        "index": Endpoint("POST", pages.index),
        "change": Endpoint("POST", pages.change),
        "file": Endpoint("GET", pages.file),
    }


class _InfoEndpoints:
    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics

    async def live(self, _http_request: HttpRequest) -> Response:
        health = self._engine.health()
        if not health.live:
            return _refuse({"live": False, "error": health.why})
        return _ok({"live": True})

    async def ready(self, _http_request: HttpRequest) -> Response:
        return self._readiness({})

    async def model_ready(self, http_request: HttpRequest) -> Response:
        self._engine.resolve(http_request.target.route, http_request.target.version)
        return self._readiness({"name": http_request.target.route})

    async def server(self, _http_request: HttpRequest) -> Response:
        return _ok({"name": "sparing", "version": read_version(), "extensions": EXTENSIONS})

    async def model(self, http_request: HttpRequest) -> Response:
        served = self._engine.resolve(http_request.target.route, http_request.target.version)
        routes = self._engine.catalog.routes()
        versions = [one.version for one in routes if one.name == served.name]
        return _ok(describe_model(http_request.target.route, served.manifest, versions))

    async def routes(self, _http_request: HttpRequest) -> Response:
        facts = [
            {
                **describe_route(
                    served.manifest,
                    served.digest,
                    served.stage_loads(),
                    None if served.similar is None else served.similar.describe(),
                    self._engine.catalog.describe_rollout(served),
                ),
                "draws": find_drawer(served.pipeline) is not None,
                "chats": find_generation(served.pipeline) is not None,
            }
            for served in self._engine.catalog.routes()
        ]
        return _ok({"routes": facts})

    async def metrics(self, http_request: HttpRequest) -> Response:
        accept = http_request.headers.get(b"accept", b"").decode("latin-1")
        body, content_type = await self._metrics.scrape(accept)
        return 200, [(b"content-type", content_type.encode())], body

    async def openapi(self, _http_request: HttpRequest) -> Response:
        manifests = [served.manifest for served in self._engine.catalog.newest()]
        return _ok(make_document(read_version(), manifests))

    async def statistics(self, http_request: HttpRequest) -> Response:
        target = http_request.target
        found = read_statistics(
            self._engine.catalog, self._metrics.request_results, target.route, target.version or ""
        )
        return _ok({"model_stats": [describe_statistics(one) for one in found]})

    async def index(self, _http_request: HttpRequest) -> Response:
        entries = read_index(self._engine.catalog, ready=False, draining=self._engine.draining)
        return 200, [JSON_TYPE], orjson.dumps([entry._asdict() for entry in entries])

    async def change(self, _http_request: HttpRequest) -> Response:
        raise InvalidInput(READ_ONLY)

    async def file(self, http_request: HttpRequest) -> Response:
        found = read_file(http_request.target.file)
        known = http_request.headers.get(b"if-none-match", b"")
        return NOT_MODIFIED if found.etag in known else 200, found.headers, found.body

    def _readiness(self, facts: Mapping[str, object]) -> Response:
        if self._engine.draining:
            return _refuse({**facts, "ready": False, "error": DRAINING})
        if not (health := self._engine.health()).ready:
            return _refuse({**facts, "ready": False, "error": health.why})
        return _ok({**facts, "ready": True})


def _refuse(facts: Mapping[str, object]) -> Response:
    return 503, [JSON_TYPE], orjson.dumps(facts)


def _ok(facts: Mapping[str, object]) -> Response:
    return 200, [JSON_TYPE], orjson.dumps(facts)
