"""The HTTP endpoint: converts requests, calls the engine, and converts its replies.

It decides nothing about routing, caching or thresholds. `serving.http.infer` reads tensors,
`serving.http.predict` answers pictures, `serving.http.body` reads bodies. It knows neither sockets
nor ASGI: `serving.http.connection` and `serving.http.asgi` pass it requests. Every request can be
answered by `answer`, in a task. A small infer request whose body has arrived needs no task: `begin`
answers it at once, or starts a call that `finish` answers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from core.errors import RouteUnavailable, SparingError, Unauthorized, UnknownRoute
from core.messages import Reply, Request
from monitoring.access_log import AccessLog, log_unauthorized, note_request
from monitoring.tracing.sampling import NO_TRACING, Tracing
from monitoring.tracing.traces import NO_TRACE, Trace
from serving.callers import ROLLOUT_KEY, UNKNOWN, Caller, Callers, use_rollout_key
from serving.engine.body_limits import limit_body
from serving.engine.calls import Call
from serving.engine.catalog import ServedRoute
from serving.engine.traced_requests import end_answered, follow
from serving.http.body import BodyBudget, ClientGone
from serving.http.chat import errors as openai
from serving.http.chat.endpoint import ChatEndpoint
from serving.http.connections import ConnectionLimits, Connections
from serving.http.explain.endpoint import ExplainEndpoint
from serving.http.infer.long_bodies import read_in_thread, takes_long
from serving.http.infer.offload import OffloadThreads
from serving.http.infer.repeated_headers import KnownHeader, RepeatedHeaders, read_again
from serving.http.infer.repeated_rows import RepeatedRow
from serving.http.infer.tensor_body import JSON_TYPE, ParsedRequest
from serving.http.interfaces import AdmittedRequest, BegunCall, Engine, Metrics, count_failure
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
    Refusal,
    Refused,
    Response,
    error_body,
    refuse,
    refuse_method,
    refuse_path,
)
from serving.http.uploads import UploadPace
from serving.settings import ServerSettings

_FAILED = "the server failed; its log has the reason"
_OPEN = frozenset({"live", "ready"})  # endpoints that need no token
_CLIENT_GONE = 499  # in the access log, as other servers write it
_UNREAD: Mapping[int, str] = {408: "RequestTimeout", 503: "RouteUnavailable"}
_ENDED = "server: it shuts down, and the answer was not ready in time"
_log = logging.getLogger("sparing.http")

_Asked = tuple[str, str | None, str]  # route, version and the key by which a rollout chooses


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
        self._max_body_bytes = settings.max_body_bytes
        self._max_rows = max_rows
        self._offload = OffloadThreads()
        self.connections = Connections(ConnectionLimits.of(settings), lambda: engine.draining)
        self._predict = PredictEndpoint(engine, settings, metrics, tracing, self._bodies)
        explain = ExplainEndpoint(
            engine, metrics, tracing, self._bodies, self._predict.pictures, self._offload,
            settings.max_body_bytes,
        )  # fmt: skip
        chat = ChatEndpoint(
            engine, metrics, tracing, self._bodies, self._predict.pictures, self._offload
        )
        self._headers = RepeatedHeaders()
        self._places = PathTable()
        self._endpoints: Mapping[str, Endpoint] = {
            "infer": Endpoint("POST", self._infer),
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
            return 500, [JSON_TYPE], openai.describe_failure(incoming.path, _FAILED)

    def find_infer(self, incoming: Incoming) -> HttpRequest | None:
        """Return an infer request for `begin`, which needs its whole body. None if `answer` must
        take it: because its path is new, or something is wrong with its head.
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

    def begin(self, http_request: HttpRequest, body: bytes) -> Refusal | AdmittedRequest:
        """Return the response to an infer request of `find_infer` if it is known at once. Else
        `submit` must follow.
        """
        target, headers, _, _, caller = http_request
        trace = self._tracing.start_from_headers(headers)
        key = caller.rollout_key or caller.name
        try:
            served = self._engine.resolve(target.route, target.version, key)
            length = headers.get(b"inference-header-content-length")
            known = self._headers.find(body, length, served.manifest, target)
            if known is None:
                parsed = self._headers.read(body, length, served.manifest, target, caller)
            elif (
                known.row
                and served.is_cached
                and not trace.is_recording
                and not self._engine.cached_rows.skips(served)
            ):
                return self._begin_row(known, known.row, served, body, caller)
            else:
                parsed = read_again(known, body, caller)
            request = self._admit(parsed, trace)
        except Exception as error:
            return self._fail((target.route, target.version, key), error, trace)
        reply = self._engine.answer_from_cache(request.parsed.request, request.admitted)
        return request if reply is None else self._write(request, reply)

    def _begin_row(
        self, known: KnownHeader, row: RepeatedRow, served: ServedRoute, body: bytes, caller: Caller
    ) -> Refusal | AdmittedRequest:
        """Like `begin`, for one row whose header is known."""
        cached_rows = self._engine.cached_rows
        hasher = row.find_hasher(caller.tenant)
        if hasher is None:
            hasher = cached_rows.hasher(read_again(known, body, caller).request, served)
            row.keep_hasher(caller.tenant, hasher)
        hasher = hasher.copy()
        hasher.update(body[row.start :])
        key = hasher.digest()
        packed = cached_rows.find(key, served)
        if packed is None:
            parsed = read_again(known, body, caller)
            return AdmittedRequest(parsed, self._engine.admit(parsed.request, key))
        source = served.metrics.energy.source
        answer = row.write(packed, source)
        if answer is None:
            reply = cached_rows.reply(packed, served)
            answer = self._headers.write(reply, served.manifest, known.parsed)
            row.keep_reply(packed, source, *answer)
        self._metrics.count_request(served.name, "ok")
        if (catalog := self._engine.catalog).has_rollouts:
            catalog.count_result(*_find_asked(known.parsed.request, caller), "ok")
        return 200, *answer

    def submit(
        self, request: AdmittedRequest, body: bytes, done: Callable[[], object]
    ) -> Refusal | BegunCall | None:
        """Begin the call of an admitted request, or refuse it; `done` is called when it is over.
        None if the body does not fit: `answer` must follow, which makes other bodies give way.
        """
        parsed, admitted = request
        caller = parsed.request.caller
        if not self._bodies.try_take(body, caller):
            return None
        try:
            return BegunCall(request, body, self._engine.submit(parsed.request, admitted, done))
        except Exception as error:
            self._bodies.give_back(body, caller)
            return self._fail(_find_asked(parsed.request), error, admitted.trace)

    def finish(self, begun: BegunCall) -> Refusal:
        """Return the response to a call that is over."""
        self._release(begun)
        return self._write(begun.request, begun.call)

    def release_call(self, begun: BegunCall) -> None:
        """Release a call whose client disconnected before it was over."""
        self._release(begun)
        self.count_gone(begun.request.parsed.request.route, begun.request.admitted.trace)

    def count_gone(self, route: str, trace: Trace = NO_TRACE) -> None:
        """Count a request whose client disconnected before it was answered."""
        count_failure(self._metrics, route, ClientGone(), trace)

    def _release(self, begun: BegunCall) -> None:
        self._engine.release_call(begun.call)
        self._bodies.give_back(begun.body, begun.request.parsed.request.caller)

    def _write(self, request: AdmittedRequest, found: Reply | Call) -> Refusal:
        """Return the response to a request that `begin` admitted, and count it."""
        parsed, admitted = request
        if admitted.trace.is_recording:
            admitted.trace.begin_span()
        try:
            reply = found if isinstance(found, Reply) else self._engine.result(found)
            headers, answer = self._headers.write(reply, admitted.served.manifest, parsed)
        except Exception as error:
            return self._fail(_find_asked(parsed.request), error, admitted.trace)
        self._metrics.count_request(reply.route, "ok")
        if (catalog := self._engine.catalog).has_rollouts:
            catalog.count_result(*_find_asked(parsed.request), "ok")
        if admitted.trace.is_recording:
            end_answered(admitted, (reply,))
        return 200, headers, answer

    def _fail(self, asked: _Asked, error: Exception, trace: Trace) -> Refusal:
        route = asked[0]
        result = count_failure(self._metrics, route, error, trace)
        self._engine.catalog.count_result(*asked, result)
        if isinstance(error, SparingError):
            return refuse(error)
        _log.error("a request for %s failed", route, exc_info=error)
        return 500, [JSON_TYPE], error_body(_FAILED)

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

    def _admit(self, parsed: ParsedRequest, trace: Trace) -> AdmittedRequest:
        admitted = self._engine.admit(parsed.request)
        return AdmittedRequest(parsed, follow(trace, admitted) if trace.is_recording else admitted)

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

    async def _infer(self, http_request: HttpRequest) -> Response:
        target, headers, client, _, caller = http_request
        trace = self._tracing.start_from_headers(headers)
        key = caller.rollout_key or caller.name
        try:
            body = await self._bodies.read(
                headers, client.receive, caller.name, self._limit_body(target, key)
            )
            try:
                manifest = self._engine.resolve(target.route, target.version, key).manifest
                length = headers.get(b"inference-header-content-length")
                if takes_long(body, length, manifest):
                    (parsed, admitted), reply = await client.attend(
                        self._answer_long(http_request, body, trace)
                    )
                else:
                    parsed, admitted = self._admit(
                        self._headers.read(body, length, manifest, target, caller), trace
                    )
                    reply = await client.attend(self._engine.answer(parsed.request, admitted))
                trace.begin_span()
                head, answer = self._headers.write(reply, admitted.served.manifest, parsed)
            finally:
                self._bodies.give_back(body, caller.name)
        except Exception as error:
            result = count_failure(self._metrics, target.route, error, trace)
            self._engine.catalog.count_result(target.route, target.version, key, result)
            raise
        self._metrics.count_request(reply.route, "ok")
        self._engine.catalog.count_result(target.route, target.version, key, "ok")
        end_answered(admitted, (reply,))
        return 200, head, answer

    def _limit_body(self, target: Target, key: str) -> int:
        served = self._engine.resolve(target.route, target.version, key)
        return limit_body(served.row_json_bytes, self._max_rows, self._max_body_bytes)

    async def _answer_long(
        self, http_request: HttpRequest, body: bytes, trace: Trace
    ) -> tuple[AdmittedRequest, Reply]:
        """Do what `_admit` does and answer, with the body parsed in a thread."""
        target, caller = http_request.target, http_request.caller
        key = caller.rollout_key or caller.name
        manifest = self._engine.resolve(target.route, target.version, key).manifest
        parsed = await read_in_thread(self._offload, http_request, body, manifest)
        request = self._admit(parsed, trace)
        return request, await self._engine.answer(parsed.request, request.admitted)


def _find_asked(request: Request, caller: Caller = UNKNOWN) -> _Asked:
    """Return what a request asked for, as its caller if it is only an example of that request."""
    if caller is not UNKNOWN:
        return request.route, request.version, caller.rollout_key or caller.name
    return request.route, request.version, request.rollout_key or request.caller
