"""The HTTP endpoint: a plain ASGI callable that converts, calls the engine, and converts back.

It decides nothing about routing, caching or thresholds. `serving.http.infer` reads tensors,
`serving.http.predict` answers pictures, `serving.http.body` reads bodies. No framework stands
between the server and the infer endpoint, because each of its calls costs microseconds.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

from core.errors import RouteUnavailable, SparingError, UnknownRoute
from core.messages import Reply
from monitoring.tracing.sampling import NO_TRACING, Tracing
from monitoring.tracing.traces import Trace
from serving.callers import UNKNOWN, Caller, Callers
from serving.engine.body_limits import limit_body
from serving.engine.calls import Call
from serving.engine.traced_requests import end_answered, follow
from serving.http.body import BodyBudget, ClientGone, HeaderMap, HeaderPairs, Receive
from serving.http.connections import ConnectionLimits, Connections
from serving.http.disconnects import Disconnects
from serving.http.infer.json_large import LARGE_BYTES, takes_text
from serving.http.infer.offload import OffloadThreads
from serving.http.infer.repeated_headers import RepeatedHeaders
from serving.http.infer.tensor_body import JSON_TYPE, read_request
from serving.http.interfaces import Engine, Metrics, Scope, Send, count_failure, refuse_protocol
from serving.http.pages import make_info_endpoints
from serving.http.predict import PredictEndpoint
from serving.http.routing import (
    AdmittedRequest,
    Endpoint,
    HttpRequest,
    PathTable,
    Target,
    parse_path,
)
from serving.http.status import (
    CLOSE,
    Refused,
    Response,
    error_body,
    refuse,
    refuse_method,
    refuse_path,
    write_response,
)
from serving.http.uploads import UploadPace
from serving.settings import ServerSettings

_NOTHING: Mapping[bytes, Target] = {}
# key in the scope for what `answer_from_cache` found
ADMITTED_KEY = "sparing.known"
_FAILED = "the server failed; its log has the reason"
_OPEN = frozenset({"live", "ready"})  # endpoints that need no token
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
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._tracing = tracing
        self._callers = Callers(settings)
        self._bodies = BodyBudget(
            settings.max_body_bytes,
            settings.max_body_bytes_in_flight,
            UploadPace(settings.body_timeout_s, settings.min_body_bytes_per_s, settings.drain_s),
            lambda: engine.draining,
        )
        self._max_body_bytes = settings.max_body_bytes
        self._max_rows = max_rows
        self._offload = OffloadThreads()
        self.connections = Connections(
            ConnectionLimits(
                settings.head_timeout_s,
                settings.body_timeout_s,
                settings.idle_timeout_s,
                settings.write_timeout_s,
                settings.min_body_bytes_per_s,
                settings.max_connections,
                settings.max_unread_bytes,
            ),
            lambda: engine.draining,
        )
        self._disconnects = Disconnects()
        self._predict = PredictEndpoint(
            engine, settings, metrics, tracing, self._bodies, self._disconnects
        )
        self._headers = RepeatedHeaders()
        self._places = PathTable()
        self._endpoints: Mapping[str, Endpoint] = {
            "infer": Endpoint("POST", self._infer),
            "predict": Endpoint("POST", self._predict.answer),
            **make_info_endpoints(engine, metrics),
        }

    def close(self) -> None:
        """End the decoding threads."""
        self._predict.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await refuse_protocol(scope["type"], receive, send)
            return
        try:
            status, headers, body = await self._answer(scope, receive)
        except ClientGone:
            return
        except asyncio.CancelledError:
            if not self._engine.draining:
                raise
            status, headers, body = refuse(RouteUnavailable(_ENDED))
        headers.append((b"content-length", b"%d" % len(body)))
        if self._engine.draining:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        try:
            endpoint, http_request = self._enter(scope, receive)
            return await endpoint.answer(http_request)
        except SparingError as error:
            return refuse(error)
        except Refused as refused:
            return refused.response
        except ClientGone:
            raise
        except Exception:
            _log.exception("an HTTP request failed")
            return 500, [JSON_TYPE], error_body(_FAILED)

    @property
    def fast_paths(self) -> Mapping[bytes, Target]:
        """The infer endpoints, by URL, for which `answer_from_cache` may be called now."""
        tokens = self._callers.needs_token
        return _NOTHING if tokens or self._engine.draining else self._places.urls

    def answer_from_cache(
        self, url: bytes, pairs: HeaderPairs, headers: HeaderMap, body: bytes, address: str
    ) -> "tuple[bytes | None, AdmittedRequest | None]":
        """Return the whole response to an infer request of one row that the cache holds.

        A connection calls it to save such a request all that a task needs. Without a response, the
        ordinary call must follow, also for errors; it reuses what was read here
        (`AdmittedRequest`).
        """
        target = self.fast_paths.get(url)
        if target is None:
            return None, None
        try:
            self._bodies.check_headers(headers)
            caller = self._callers.find(pairs, address)
            admitted_request = self._admit(
                target, headers, body, caller, self._tracing.start_from_headers(headers)
            )
        except SparingError:
            return None, None
        reply = self._engine.answer_from_cache(
            admitted_request.parsed.request, admitted_request.admitted
        )
        if reply is None:
            return None, admitted_request
        return write_response(*self._write_admitted(admitted_request, reply)), None

    def begin(
        self, admitted_request: AdmittedRequest, body: bytes, done: Callable[[], object]
    ) -> Call | bytes | None:
        """Begin the call that `answer_from_cache` admitted, or refuse it; None if its body does not
        fit.
        """
        if not self._bodies.try_take(body, admitted_request.parsed.request.caller):
            return None
        try:
            return self._engine.submit(
                admitted_request.parsed.request, admitted_request.admitted, done
            )
        except SparingError as error:
            self._bodies.give_back(body, admitted_request.parsed.request.caller)
            return write_response(*self._fail_admitted(admitted_request, error))

    def finish(
        self, admitted_request: AdmittedRequest, body: bytes, call: Call, *, close: bool
    ) -> bytes:
        """Return the whole response of a finished call; with `close` it is the connection's
        last.
        """
        self._engine.release_call(call)
        self._bodies.give_back(body, admitted_request.parsed.request.caller)
        status, headers, answer = self._write_admitted(admitted_request, call)
        if close:
            headers.append(CLOSE)
        return write_response(status, headers, answer)

    def release_call(self, admitted_request: AdmittedRequest, body: bytes, call: Call) -> None:
        """Release a call whose client disconnected before it was over."""
        self._engine.release_call(call)
        self._bodies.give_back(body, admitted_request.parsed.request.caller)
        count_failure(
            self._metrics,
            admitted_request.parsed.request.route,
            ClientGone(),
            admitted_request.admitted.trace,
        )

    def _write_admitted(self, admitted_request: AdmittedRequest, found: Reply | Call) -> Response:
        """Return the response to a request that `answer_from_cache` admitted, and count it."""
        parsed, admitted = admitted_request
        if admitted.trace.is_recording:
            admitted.trace.begin_span()
        try:
            reply = found if isinstance(found, Reply) else self._engine.result(found)
            headers, answer = self._headers.write(reply, admitted.served.manifest, parsed)
        except Exception as error:
            return self._fail_admitted(admitted_request, error)
        self._metrics.count_request(reply.route, "ok")
        if admitted.trace.is_recording:
            end_answered(admitted, reply.answers)
        return 200, headers, answer

    def _fail_admitted(self, admitted_request: AdmittedRequest, error: Exception) -> Response:
        route = admitted_request.parsed.request.route
        count_failure(self._metrics, route, error, admitted_request.admitted.trace)
        if isinstance(error, SparingError):
            return refuse(error)
        _log.error("a request for %s failed", route, exc_info=error)
        return 500, [JSON_TYPE], error_body(_FAILED)

    def name_caller(self, address: str) -> str:
        """Return the name of the caller at this address."""
        return self._callers.of_address(address).name

    def count_refused(self, status: HTTPStatus) -> None:
        """Count a request that its connection refused because it is not a valid HTTP request."""
        self._metrics.count_request("", _UNREAD.get(status, "InvalidInput"))
        self.connections.count_event(f"refused with {status.value}")

    @property
    def draining(self) -> bool:
        return self._engine.draining

    def _admit(
        self, target: Target, headers: HeaderMap, body: bytes, caller: Caller, trace: Trace
    ) -> AdmittedRequest:
        served = self._engine.resolve(target.route, target.version)
        length = headers.get(b"inference-header-content-length")
        parsed = self._headers.read(
            body, length, served.manifest, target.route, target.version, caller
        )
        return AdmittedRequest(parsed, follow(trace, self._engine.admit(parsed.request)))

    def _enter(self, scope: Scope, receive: Receive) -> tuple[Endpoint, HttpRequest]:
        """Return the endpoint and the visit. Refuses unknown paths, wrong methods and missing
        tokens.
        """
        path: str = scope["path"]
        headers: HeaderMap = dict(scope["headers"])
        target = self._places.get(path)
        caller = UNKNOWN
        if target is None or target.endpoint not in _OPEN:
            caller = self._callers.find(scope["headers"], read_address(scope["client"]))
        if target is None:
            target = self._find(path)
        endpoint = self._endpoints[target.endpoint]
        method = scope["method"]
        if method != endpoint.method and (method, endpoint.method) != ("HEAD", "GET"):
            raise refuse_method(method, endpoint.method)
        admitted_request = scope.pop(ADMITTED_KEY, None)  # the connection keeps its last scope
        http_request = HttpRequest(
            target, headers, receive, scope["query_string"], admitted_request, caller
        )
        return endpoint, http_request

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

    async def _infer(self, http_request: HttpRequest) -> Response:
        target, admitted_request, headers = (
            http_request.target,
            http_request.admitted_request,
            http_request.headers,
        )
        trace = (
            admitted_request.admitted.trace
            if admitted_request
            else self._tracing.start_from_headers(headers)
        )
        try:
            body = await self._bodies.read(
                headers,
                http_request.receive,
                http_request.caller.name,
                None if admitted_request else self._limit_body(target),
            )
            try:
                if (
                    admitted_request is None
                    and len(body) > LARGE_BYTES
                    and self._is_long(target, headers)
                ):
                    (parsed, admitted), reply = await self._disconnects.wait(
                        self._answer_long(http_request, body, trace), http_request.receive
                    )
                else:
                    parsed, admitted = admitted_request or self._admit(
                        target, headers, body, http_request.caller, trace
                    )
                    reply = await self._disconnects.wait(
                        self._engine.answer(parsed.request, admitted), http_request.receive
                    )
                trace.begin_span()
                head, answer = self._headers.write(reply, admitted.served.manifest, parsed)
            finally:
                self._bodies.give_back(body, http_request.caller.name)
        except Exception as error:
            count_failure(self._metrics, target.route, error, trace)
            raise
        self._metrics.count_request(reply.route, "ok")
        end_answered(admitted, reply.answers)
        return 200, head, answer

    def _limit_body(self, target: Target) -> int:
        served = self._engine.resolve(target.route, target.version)
        return limit_body(served.row_json_bytes, self._max_rows, self._max_body_bytes)

    def _is_long(self, target: Target, headers: HeaderMap) -> bool:
        """Return whether a large body takes long to parse: not if it consists of raw numbers."""
        length = headers.get(b"inference-header-content-length")
        manifest = self._engine.resolve(target.route, target.version).manifest
        return length is None or len(length) > 4 or takes_text(manifest)

    async def _answer_long(
        self, http_request: HttpRequest, body: bytes, trace: Trace
    ) -> tuple[AdmittedRequest, Reply]:
        """Do what `_admit` does and answer, with the body parsed in a thread."""
        target, caller = http_request.target, http_request.caller
        manifest = self._engine.resolve(target.route, target.version).manifest
        length = http_request.headers.get(b"inference-header-content-length")
        arrived = time.monotonic()
        parsed = await self._offload.run(
            caller.name, read_request, body, length, manifest, target.route, target.version
        )
        timeout_s = parsed.timeout_s
        request = parsed.request._replace(
            deadline=None if timeout_s is None else arrived + timeout_s,
            tenant=caller.tenant,
            caller=caller.name,
        )
        parsed = parsed._replace(request=request)
        admitted_request = AdmittedRequest(parsed, follow(trace, self._engine.admit(request)))
        return admitted_request, await self._engine.answer(request, admitted_request.admitted)


def read_address(client: tuple[str, int] | None) -> str:
    """Return the peer's address from an ASGI scope; empty if the server knows none."""
    return client[0] if client else ""
