"""The HTTP endpoint: converts requests, calls the engine, and converts its replies.

It decides nothing about routing, caching or thresholds. `serving.http.infer` answers tensors,
`serving.http.predict` pictures, `serving.http.body` reads bodies. It knows neither sockets nor
ASGI: `serving.http.connection` and `serving.http.asgi` pass it requests. Every request can be
answered by `answer`, in a task. A small infer request needs none: `find_infer` finds it, and
`infer` answers it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from http import HTTPStatus

from core.errors import RouteUnavailable, SparingError, Unauthorized, UnknownRoute
from monitoring.access_log import AccessLog, log_unauthorized, note_request
from monitoring.tracing.sampling import NO_TRACING, Tracing
from serving.callers import ROLLOUT_KEY, UNKNOWN, Callers, use_rollout_key
from serving.console.files import list_paths
from serving.http.body import BodyBudget, ClientGone
from serving.http.chat import errors as openai
from serving.http.chat.endpoint import ChatEndpoint
from serving.http.connections import ConnectionLimits, Connections
from serving.http.explain.endpoint import ExplainEndpoint
from serving.http.infer.endpoint import FAILED, InferEndpoint
from serving.http.infer.offload import OffloadThreads
from serving.http.infer.tensor_body import JSON_TYPE
from serving.http.interfaces import Engine, Metrics, count_failure
from serving.http.pages import make_info_endpoints
from serving.http.predict import PredictEndpoint
from serving.http.routing import (
    Endpoint,
    HttpRequest,
    Incoming,
    PathTable,
    Target,
    parse_path,
)
from serving.http.status import (
    Refused,
    Response,
    refuse_method,
    refuse_path,
)
from serving.http.uploads import UploadPace
from serving.settings import ServerSettings

_OPEN = frozenset({"live", "ready", "file"})  # endpoints that need no token
_CLIENT_GONE = 499  # in the access log, as other servers write it
_UNREAD: Mapping[int, str] = {408: "RequestTimeout", 503: "RouteUnavailable"}
_ENDED = "server: it shuts down, and the answer was not ready in time"
_log = logging.getLogger("sparing.http")


class HttpEndpoint:
    """The HTTP endpoint of one process; may be created inside or outside the event loop."""

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings,
        metrics: Metrics,
        tracing: Tracing = NO_TRACING,
        *,
        max_rows: int = 256,  # in one request
        callers: Callers | None = None,
        access: AccessLog | None = None,
    ) -> None:
        self._engine = engine
        self._access = access
        self._metrics = metrics
        self._tracing = tracing
        self._callers = callers or Callers(settings)
        self._bodies = BodyBudget(
            settings.max_body_bytes,
            settings.max_body_bytes_in_flight,
            UploadPace(settings.body_timeout_s, settings.min_body_bytes_per_s, settings.drain_s),
            lambda: engine.draining,
        )
        offload = OffloadThreads()
        self.connections = Connections(ConnectionLimits.of(settings), lambda: engine.draining)
        self._predict = PredictEndpoint(engine, settings, metrics, tracing, self._bodies)
        explain = ExplainEndpoint(
            engine, metrics, tracing, self._bodies, self._predict.pictures, offload,
            settings.max_body_bytes,
        )  # fmt: skip
        self.infer = InferEndpoint(
            engine, metrics, tracing, self._bodies, offload, settings.max_body_bytes, max_rows
        )
        chat = ChatEndpoint(engine, metrics, tracing, self._bodies, self._predict.pictures, offload)
        self._places = PathTable(list_paths() if settings.console else None)
        self._endpoints: Mapping[str, Endpoint] = {
            "infer": Endpoint("POST", self.infer.answer),
            "predict": Endpoint("POST", self._predict.answer),
            "explain": Endpoint("POST", explain.answer),
            "chat": Endpoint("POST", chat.answer),
            "models": Endpoint("GET", chat.models),
            **make_info_endpoints(engine, metrics),
        }

    def close(self) -> None:
        """End the decoding threads."""
        self._predict.close()

    def answer(self, incoming: Incoming) -> Awaitable[Response]:
        """Return the response to a request. Raises ClientGone if its client disconnects."""
        if self._access is not None:
            return self._answer_logged(incoming, self._access)
        return self._answer(incoming)

    async def _answer_logged(self, incoming: Incoming, access: AccessLog) -> Response:
        """Answer a request, and write its line in the access log."""
        caller = self.name_caller(incoming.address)
        entry = access.begin_http(incoming.method, incoming.path, incoming.headers, caller)
        status = _CLIENT_GONE
        try:
            response = await self._answer(incoming)
            status = response[0]
            return response
        finally:
            entry.end(status)

    async def _answer(self, incoming: Incoming) -> Response:
        try:
            endpoint, http_request = self._enter(incoming)
            return await endpoint.answer(http_request)
        except SparingError as error:
            if isinstance(error, Unauthorized) and self._access is None:
                log_unauthorized("http", self.name_caller(incoming.address))
            return openai.refuse_as(incoming.path, error)
        except Refused as refused:
            return refused.response
        except ClientGone:
            raise
        except asyncio.CancelledError:
            if not self._engine.draining:
                raise
            return openai.refuse_as(incoming.path, RouteUnavailable(_ENDED))
        except Exception:
            _log.exception("an HTTP request failed")
            return 500, [JSON_TYPE], openai.describe_failure(incoming.path, FAILED)

    def find_infer(self, incoming: Incoming) -> HttpRequest | None:
        """Return an infer request for `infer.begin`, which needs its whole body. None if `answer`
        must take it: because its path is new, or something is wrong with its head.
        """
        target = self._places.get(incoming.path)
        if target is None or target.endpoint != "infer" or incoming.method != "POST":
            return None
        if self._access is not None:
            return None  # `answer` has its line
        headers = dict(incoming.headers)
        try:
            caller = self._callers.find(incoming.headers, incoming.address)
            caller = use_rollout_key(caller, headers.get(ROLLOUT_KEY))
            self._bodies.check_headers(headers, caller.name)
        except SparingError:
            return None
        return HttpRequest(target, headers, incoming.client, incoming.query, caller)

    def name_caller(self, address: str) -> str:
        """Return the name of the caller at this address."""
        return self._callers.of_address(address).name

    def count_refused(self, status: HTTPStatus, address: str) -> None:
        """Count a request that its connection refused because it is not a valid HTTP request."""
        if self._access is not None:
            self._access.begin_http("", "", (), self.name_caller(address)).end(status.value)
        self._metrics.count_request("", _UNREAD.get(status, "InvalidInput"))
        self.connections.count_event(f"refused with {status.value}")

    @property
    def draining(self) -> bool:
        return self._engine.draining

    def _enter(self, incoming: Incoming) -> tuple[Endpoint, HttpRequest]:
        """Return the request and its endpoint. Refuses unknown paths, wrong methods and missing
        tokens.
        """
        method, path, query, headers, address, client = incoming
        target = self._places.get(path)
        caller = UNKNOWN
        if target is None or target.endpoint not in _OPEN:
            caller = self._callers.find(headers, address)
        if target is None:
            target = self._find(path)
        if self._access is not None:
            note_request(target.route, caller.name)
        endpoint = self._endpoints[target.endpoint]
        if method != endpoint.method and (method, endpoint.method) != ("HEAD", "GET"):
            raise refuse_method(method, endpoint.method)
        given = dict(headers)
        caller = use_rollout_key(caller, given.get(ROLLOUT_KEY))
        return endpoint, HttpRequest(target, given, client, query, caller)

    def _find(self, path: str) -> Target:
        """Parse a path, and remember it if its route is served."""
        target = parse_path(path)
        if target is None:
            raise refuse_path(path)
        if not target.route:
            return target
        try:
            self._engine.resolve(target.route, target.version)
        except UnknownRoute as error:
            count_failure(self._metrics, target.route, error)
            raise
        self._places.remember(path, target)
        return target
