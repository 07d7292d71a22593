"""Answers infer requests.

Every one can be answered by `answer`, in a task. A small one whose body has arrived needs no task:
`begin` answers it at once, or admits it. Then `gather` takes a request of one row to others that
came together with it, and `submit` begins the call of any other, which `finish` answers.
"""

import logging
from collections.abc import Callable

from core.errors import SparingError
from core.messages import Reply, Request
from monitoring.tracing.sampling import Tracing
from monitoring.tracing.traces import NO_TRACE, Trace
from serving.callers import UNKNOWN, Caller
from serving.engine.body_limits import limit_body
from serving.engine.calls import Call
from serving.engine.catalog import ServedRoute
from serving.engine.traced_requests import end_answered, follow
from serving.http.body import BodyBudget, ClientGone
from serving.http.infer.gathering import GatheredRow, Gathering, RowRequest, WaitingRow
from serving.http.infer.long_bodies import read_in_thread, takes_long
from serving.http.infer.offload import OffloadThreads
from serving.http.infer.repeated_headers import KnownHeader, RepeatedHeaders, read_again
from serving.http.infer.repeated_rows import RepeatedRow
from serving.http.infer.tensor_body import JSON_TYPE, ParsedRequest
from serving.http.interfaces import AdmittedRequest, BegunCall, Engine, Metrics, count_failure
from serving.http.routing import HttpRequest, Target
from serving.http.status import Refusal, Response, error_body, refuse

FAILED = "the server failed; its log has the reason"
_log = logging.getLogger("sparing.http")

_Asked = tuple[str, str | None, str]  # route, version and the key by which a rollout chooses


class InferEndpoint:
    """Reads tensors, calls the engine, writes its replies."""

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        tracing: Tracing,
        bodies: BodyBudget,
        offload: OffloadThreads,
        max_body_bytes: int,
        max_rows: int,  # in one request
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._tracing = tracing
        self._bodies = bodies
        self._offload = offload
        self._max_body_bytes = max_body_bytes
        self._max_rows = max_rows
        self._headers = RepeatedHeaders()
        self._gathering = Gathering(
            engine, bodies, self._headers, metrics, self._fail_row, max_rows
        )

    # Without a task -------------------------------------------------------------------------------

    def begin(
        self, http_request: HttpRequest, body: bytes, *, alone: bool = False
    ) -> Refusal | AdmittedRequest | RowRequest:
        """Return the response to an infer request if it is known at once. Else `submit` must
        follow, or `gather`, but not for a request that is `alone`.
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
            elif trace.is_recording:
                parsed = read_again(known, body, caller)
            else:
                gathers = not alone and known.gathers and self._engine.gathers(served)
                if known.row and served.is_cached and not self._engine.cached_rows.skips(served):
                    return self._begin_row(known, known.row, served, body, caller, gathers)
                if gathers:
                    return RowRequest(known, served, caller, None)
                parsed = read_again(known, body, caller)
            request = self._admit(parsed, trace)
        except Exception as error:
            return self._fail((target.route, target.version, key), error, trace)
        reply = self._engine.answer_from_cache(request.parsed.request, request.admitted)
        return request if reply is None else self._write(request, reply)

    def _begin_row(
        self,
        known: KnownHeader,
        row: RepeatedRow,
        served: ServedRoute,
        body: bytes,
        caller: Caller,
        gathers: bool,
    ) -> Refusal | AdmittedRequest | RowRequest:
        """Like `begin`, for one row whose header is known and that the cache may hold."""
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
            if gathers:
                return RowRequest(known, served, caller, key)
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

    def gather(self, request: RowRequest, body: bytes, waiting: WaitingRow) -> GatheredRow:
        """Take a request to those that come in the same pass; `waiting` gets its response."""
        return self._gathering.add(request, body, waiting)

    def submit(
        self, request: AdmittedRequest, body: bytes, done: Callable[[], object]
    ) -> Refusal | BegunCall | None:
        """Begin the call of an admitted request, or refuse it; `done` is called when it is over.
        None if the body does not fit: `answer` must follow, which makes other bodies give way.
        """
        parsed, admitted = request
        caller = parsed.request.caller
        if not self._bodies.try_take(len(body), caller):
            return None
        try:
            return BegunCall(request, body, self._engine.submit(parsed.request, admitted, done))
        except Exception as error:
            self._bodies.give_back(len(body), caller)
            return self._fail(_find_asked(parsed.request), error, admitted.trace)

    def finish(self, begun: BegunCall) -> Refusal:
        """Return the response to a call that is over."""
        self._release(begun)
        return self._write(begun.request, begun.call)

    def release(self, begun: BegunCall | GatheredRow, route: str) -> None:
        """Release a request whose client disconnected before it was answered."""
        if isinstance(begun, GatheredRow):
            self._gathering.leave(begun)
            self.count_gone(route)
        else:
            self._release(begun)
            self.count_gone(route, begun.request.admitted.trace)

    def count_gone(self, route: str, trace: Trace = NO_TRACE) -> None:
        """Count a request whose client disconnected before it was answered."""
        count_failure(self._metrics, route, ClientGone(), trace)

    def _release(self, begun: BegunCall) -> None:
        self._engine.release_call(begun.call)
        self._bodies.give_back(len(begun.body), begun.request.parsed.request.caller)

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
        return 500, [JSON_TYPE], error_body(FAILED)

    def _fail_row(self, request: RowRequest, error: Exception) -> Refusal:
        return self._fail(
            _find_asked(request.known.parsed.request, request.caller), error, NO_TRACE
        )

    def _admit(self, parsed: ParsedRequest, trace: Trace) -> AdmittedRequest:
        admitted = self._engine.admit(parsed.request)
        return AdmittedRequest(parsed, follow(trace, admitted) if trace.is_recording else admitted)

    # In a task ------------------------------------------------------------------------------------

    async def answer(self, http_request: HttpRequest) -> Response:
        """Return the response to any infer request. Raises a leaf of the error tree."""
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
                self._bodies.give_back(len(body), caller.name)
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
