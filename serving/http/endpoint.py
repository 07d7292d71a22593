"""The HTTP door: a plain ASGI callable that converts, asks the engine, and converts back.

It decides nothing about routing, caching or thresholds. Tensors are read in `serving.http.infer`,
pictures in `serving.pictures`, bodies in `serving.http.body`. No framework stands between the
server and the infer endpoint, where the microseconds go.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import orjson

from core.errors import RouteUnavailable, SparingError, UnknownRoute
from core.messages import Reply
from monitoring.tracing.sampling import NO_TRACING, Tracing
from monitoring.tracing.traces import NO_TRACE, Trace
from serving.callers import UNKNOWN, Caller, Callers
from serving.engine.admission import Admitted
from serving.engine.body_limits import limit_body
from serving.engine.calls import Call
from serving.engine.catalog import ServedRoute
from serving.engine.traced_requests import end_answered, follow
from serving.http.body import BodyBudget, ClientGone, HeaderMap, HeaderPairs, Receive
from serving.http.connections import Connections, Limits
from serving.http.disconnects import Departures
from serving.http.infer.json_large import LARGE_BYTES, takes_text
from serving.http.infer.repeated_headers import RepeatedHeaders
from serving.http.infer.tensor_body import JSON_TYPE, read_request
from serving.http.interfaces import Engine, Metrics, Scope, Send, refuse_protocol
from serving.http.offload import Aside
from serving.http.pages import make_pages
from serving.http.paths import Endpoint, Known, Place, Places, Visit, read_place, read_query
from serving.http.status import (
    CLOSE,
    Refused,
    Response,
    refuse,
    refuse_method,
    refuse_path,
    say,
    write_response,
)
from serving.http.uploads import Pace
from serving.oip.descriptions import describe_reply
from serving.pictures.decode_pool import open_decode_pool
from serving.pictures.picture_reader import PictureReader
from serving.pictures.picture_request import read_picture_request
from serving.pictures.pictures import PictureLimits
from serving.settings import ServerSettings

_NOTHING: Mapping[bytes, Place] = {}
KNOWN = "sparing.known"  # where a connection leaves in the scope what `recall` found out
_FAILED = "the server failed; its log says why"
_OPEN = frozenset({"live", "ready"})  # endpoints that need no token
_UNREAD: Mapping[int, str] = {408: "RequestTimeout", 503: "RouteUnavailable"}
_ENDED = "server: it shuts down, and the answer was not there in time"
_log = logging.getLogger("sparing.http")


class HttpDoor:
    """One for each process; made inside or outside of the loop."""

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings,
        metrics: Metrics,
        tracing: Tracing = NO_TRACING,
        *,
        max_rows: int = 256,  # of a request
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._tracing = tracing
        self._decoding = open_decode_pool(settings)
        limits = PictureLimits(settings.max_picture_pixels, settings.max_decode_bytes)
        self._pictures = PictureReader(limits, self._decoding)
        self._callers = Callers(settings)
        self._bodies = BodyBudget(
            settings.max_body_bytes,
            settings.max_body_bytes_in_flight,
            Pace(settings.body_timeout_s, settings.min_body_bytes_per_s, settings.drain_s),
            lambda: engine.draining,
        )
        self._max_body_bytes = settings.max_body_bytes
        self._max_rows = max_rows
        self._aside = Aside()
        self.connections = Connections(
            Limits(
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
        self._departures = Departures()
        self._headers = RepeatedHeaders()
        self._places = Places()
        self._endpoints: Mapping[str, Endpoint] = {
            "infer": Endpoint("POST", self._infer),
            "predict": Endpoint("POST", self._predict),
            **make_pages(engine, metrics),
        }

    def close(self) -> None:
        """End the threads that decode."""
        self._decoding.close()

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
            endpoint, visit = self._enter(scope, receive)
            return await endpoint.answer(visit)
        except SparingError as error:
            return refuse(error)
        except Refused as refused:
            return refused.response
        except ClientGone:
            raise
        except Exception:
            _log.exception("an HTTP request failed")
            return 500, [JSON_TYPE], say(_FAILED)

    @property
    def recallable(self) -> Mapping[bytes, Place]:
        """The infer endpoints, as they come over the wire, that `recall` may be asked of now."""
        tokens = self._callers.asks_token
        return _NOTHING if tokens or self._engine.draining else self._places.urls

    def recall(
        self, url: bytes, pairs: HeaderPairs, headers: HeaderMap, body: bytes, address: str
    ) -> "tuple[bytes | None, Known | None]":
        """The whole response to an infer request of one row that the cache holds.

        For whoever holds the connection and wants to spare such a request all that a task needs.
        Without a response, the ordinary call is to follow, also for whatever is wrong, and takes
        over what was found out (`Known`).
        """
        place = self.recallable.get(url)
        if place is None:
            return None, None
        try:
            self._bodies.check_headers(headers)
            caller = self._callers.find(pairs, address)
            known = self._admit(place, headers, body, caller, self._tracing.of_headers(headers))
        except SparingError:
            return None, None
        reply = self._engine.recall(known.asked.request, known.admitted)
        if reply is None:
            return None, known
        return write_response(*self._write(known, reply)), None

    def begin(self, known: Known, body: bytes, done: Callable[[], object]) -> Call | bytes | None:
        """Begin the call that `recall` admitted, or refuse it; None: no room for its body."""
        if not self._bodies.try_take(body, known.asked.request.caller):
            return None
        try:
            return self._engine.submit(known.asked.request, known.admitted, done)
        except SparingError as error:
            self._bodies.give_back(body, known.asked.request.caller)
            return write_response(*self._fail(known, error))

    def finish(self, known: Known, body: bytes, call: Call, *, close: bool) -> bytes:
        """The whole response of a call that is over; with `close` the connection's last."""
        self._engine.leave(call)
        self._bodies.give_back(body, known.asked.request.caller)
        status, headers, answer = self._write(known, call)
        if close:
            headers.append(CLOSE)
        return write_response(status, headers, answer)

    def leave(self, known: Known, body: bytes, call: Call) -> None:
        """The client is gone before its call was over."""
        self._engine.leave(call)
        self._bodies.give_back(body, known.asked.request.caller)
        self._count_failure(known.asked.request.route, ClientGone(), known.admitted.trace)

    def _write(self, known: Known, found: Reply | Call) -> Response:
        """The response to what `recall` admitted, counted."""
        asked, admitted = known
        if admitted.trace.on:
            admitted.trace.touch()
        try:
            reply = found if isinstance(found, Reply) else self._engine.take(found)
            headers, answer = self._headers.write(reply, admitted.served.manifest, asked)
        except Exception as error:
            return self._fail(known, error)
        self._metrics.request(reply.route, "ok")
        if admitted.trace.on:
            end_answered(admitted, reply.answers)
        return 200, headers, answer

    def _fail(self, known: Known, error: Exception) -> Response:
        route = known.asked.request.route
        self._count_failure(route, error, known.admitted.trace)
        if isinstance(error, SparingError):
            return refuse(error)
        _log.error("a request for %s failed", route, exc_info=error)
        return 500, [JSON_TYPE], say(_FAILED)

    def name_caller(self, address: str) -> str:
        """Whose connection one from this address is."""
        return self._callers.of_address(address).name

    def refuse_unread(self, status: HTTPStatus) -> None:
        """Count a request that its connection refused, for what is no request of this server's."""
        self._metrics.request("", _UNREAD.get(status, "InvalidInput"))
        self.connections.note(f"refused with {status.value}")

    @property
    def draining(self) -> bool:
        return self._engine.draining

    def _admit(
        self, place: Place, headers: HeaderMap, body: bytes, caller: Caller, trace: Trace
    ) -> Known:
        served = self._engine.resolve(place.route, place.version)
        length = headers.get(b"inference-header-content-length")
        asked = self._headers.read(
            body, length, served.manifest, place.route, place.version, caller
        )
        return Known(asked, follow(trace, self._engine.admit(asked.request)))

    def _enter(self, scope: Scope, receive: Receive) -> tuple[Endpoint, Visit]:
        """Which endpoint is visited, by whom; what is not there or not allowed is refused."""
        path: str = scope["path"]
        headers: HeaderMap = dict(scope["headers"])
        place = self._places.get(path)
        caller = UNKNOWN
        if place is None or place.endpoint not in _OPEN:
            caller = self._callers.find(scope["headers"], read_address(scope["client"]))
        if place is None:
            place = self._find(path)
        endpoint = self._endpoints[place.endpoint]
        method = scope["method"]
        if method != endpoint.method and (method, endpoint.method) != ("HEAD", "GET"):
            raise refuse_method(method, endpoint.method)
        known = scope.pop(KNOWN, None)  # the connection keeps its last scope
        visit = Visit(place, headers, receive, scope["query_string"], known, caller)
        return endpoint, visit

    def _find(self, path: str) -> Place:
        """Parse a path, and remember it where its route is served."""
        place = read_place(path)
        if place is None:
            raise refuse_path(path)
        if not place.route:
            return place
        try:
            self._engine.resolve(place.route, place.version)
        except UnknownRoute as error:
            self._count_failure(place.route, error)
            raise
        self._places.remember(path, place)
        return place

    async def _infer(self, visit: Visit) -> Response:
        place, known, headers = visit.place, visit.known, visit.headers
        trace = known.admitted.trace if known else self._tracing.of_headers(headers)
        try:
            body = await self._bodies.read(
                headers,
                visit.receive,
                visit.caller.name,
                None if known else self._limit_body(place),
            )
            try:
                if known is None and len(body) > LARGE_BYTES and self._is_long(place, headers):
                    (asked, admitted), reply = await self._departures.wait(
                        self._answer_long(visit, body, trace), visit.receive
                    )
                else:
                    asked, admitted = known or self._admit(
                        place, headers, body, visit.caller, trace
                    )
                    reply = await self._departures.wait(
                        self._engine.answer(asked.request, admitted), visit.receive
                    )
                trace.touch()
                head, answer = self._headers.write(reply, admitted.served.manifest, asked)
            finally:
                self._bodies.give_back(body, visit.caller.name)
        except Exception as error:
            self._count_failure(place.route, error, trace)
            raise
        self._metrics.request(reply.route, "ok")
        end_answered(admitted, reply.answers)
        return 200, head, answer

    def _limit_body(self, place: Place) -> int:
        served = self._engine.resolve(place.route, place.version)
        return limit_body(served.row_json_bytes, self._max_rows, self._max_body_bytes)

    def _is_long(self, place: Place, headers: HeaderMap) -> bool:
        """Whether a large body takes long to read: not where it is bytes of numbers."""
        length = headers.get(b"inference-header-content-length")
        manifest = self._engine.resolve(place.route, place.version).manifest
        return length is None or len(length) > 4 or takes_text(manifest)

    async def _answer_long(self, visit: Visit, body: bytes, trace: Trace) -> tuple[Known, Reply]:
        """As `_admit` and what follows, with the body read in a thread."""
        place, caller = visit.place, visit.caller
        manifest = self._engine.resolve(place.route, place.version).manifest
        length = visit.headers.get(b"inference-header-content-length")
        arrived = time.monotonic()
        asked = await self._aside.run(
            caller.name, read_request, body, length, manifest, place.route, place.version
        )
        timeout_s = asked.timeout_s
        request = asked.request._replace(
            deadline=None if timeout_s is None else arrived + timeout_s,
            tenant=caller.tenant,
            caller=caller.name,
        )
        asked = asked._replace(request=request)
        known = Known(asked, follow(trace, self._engine.admit(request)))
        return known, await self._engine.answer(request, known.admitted)

    async def _predict(self, visit: Visit) -> Response:
        route = visit.place.route
        trace = self._tracing.of_headers(visit.headers)
        try:
            query = read_query(visit.query)
            body = await self._bodies.read(visit.headers, visit.receive, visit.caller.name)
            try:
                served = self._engine.resolve(route, query.get("version"))
                admitted, reply = await self._departures.wait(
                    self._answer_pictures(served, body, query, visit, trace), visit.receive
                )
            finally:
                self._bodies.give_back(body, visit.caller.name)
            trace.touch()
            facts = describe_reply(reply, admitted.served.manifest)
            answer = orjson.dumps(facts, option=orjson.OPT_SERIALIZE_NUMPY)
        except Exception as error:
            self._count_failure(route, error, trace)
            raise
        self._metrics.request(reply.route, "ok")
        end_answered(admitted, reply.answers)
        return 200, [JSON_TYPE], answer

    async def _answer_pictures(
        self,
        served: ServedRoute,
        body: bytes,
        query: Mapping[str, str],
        visit: Visit,
        trace: Trace,
    ) -> tuple[Admitted, Reply]:
        """Decoding and all that follows: the whole of it ends when the client goes."""
        route = visit.place.route
        request = await read_picture_request(
            body, served.manifest, route, query, self._pictures, visit.caller
        )
        admitted = follow(trace, self._engine.admit(request))
        return admitted, await self._engine.answer(request, admitted)

    def _count_failure(self, route: str, error: Exception, trace: Trace = NO_TRACE) -> None:
        if isinstance(error, ClientGone):
            result = "ClientGone"
        else:
            result = type(error).__name__ if isinstance(error, SparingError) else "InternalError"
        self._metrics.request(route, result)
        trace.end(result)


def read_address(client: tuple[str, int] | None) -> str:
    """The peer's address, as ASGI servers give it; empty where they know none."""
    return client[0] if client else ""
