"""`POST /v1/routes/{route}/explain`: one input, and its whole path through the route.

The body is one of `predict` with one picture, or of `infer` with one row. The request takes the
same way through the engine as every other one; its trace also records the row's path. A request
that fails after its admission gets its error and the path so far.
"""

import re
import time
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from core.errors import BodyTooLarge, InvalidInput, SparingError
from core.explaining import RowPath
from core.messages import Reply, Request
from monitoring.access_log import note_replies
from monitoring.tracing.sampling import Tracing
from monitoring.tracing.traces import SampledTrace, record_path
from serving.engine.admission import Admitted
from serving.engine.body_limits import limit_body
from serving.engine.catalog import ServedRoute
from serving.engine.traced_requests import end_answered, follow
from serving.http.body import BodyBudget, HeaderMap
from serving.http.explain.picture import (
    PNG_TYPE,
    accepts_json,
    choose_picture,
    draw,
    find_drawer,
    refuse_picture,
)
from serving.http.infer.json_large import LARGE_BYTES
from serving.http.infer.offload import OffloadThreads
from serving.http.infer.tensor_body import JSON_TYPE, read_request
from serving.http.interfaces import Engine, Metrics, count_failure
from serving.http.routing import HttpRequest, read_query
from serving.http.status import Refused, Response, refuse
from serving.oip.descriptions import JsonObject
from serving.oip.explanations import Explained, describe_explanation
from serving.pictures.picture_reader import PictureReader
from serving.pictures.picture_request import read_picture_request

_LENGTH = b"inference-header-content-length"
_OBJECT = re.compile(rb"[ \t\r\n]*\{")


class _Traced(NamedTuple):
    """A request of one row that the engine has taken through its route."""

    request: Request
    admitted: Admitted
    found: Reply | SparingError


class ExplainEndpoint:
    """Explains one input in each request."""

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        tracing: Tracing,
        bodies: BodyBudget,
        pictures: PictureReader,
        offload: OffloadThreads,
        max_body_bytes: int,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._tracing = tracing
        self._bodies = bodies
        self._pictures = pictures
        self._offload = offload
        self._max_body_bytes = max_body_bytes

    async def answer(self, http_request: HttpRequest) -> Response:
        """Read the body, take its row through the route, return its path, and count the request."""
        headers, caller = http_request.headers, http_request.caller
        sampled = self._tracing.start_from_headers(headers)
        trace, path = record_path(sampled)
        try:
            query = read_query(http_request.query)
            body = await self._bodies.read(headers, http_request.client.receive, caller.name)
            try:
                served = self._engine.resolve(
                    http_request.target.route,
                    query.get("version"),
                    caller.rollout_key or caller.name,
                )
                path.wants_picture = choose_picture(headers, served)
                work = self._explain(http_request, served, body, query, trace)
                traced, response = await http_request.client.attend(work)
            finally:
                self._bodies.give_back(len(body), caller.name)
        except Exception as error:
            refused = InvalidInput() if isinstance(error, Refused) else error
            count_failure(self._metrics, http_request.target.route, refused, trace)
            raise
        if isinstance(traced.found, SparingError):
            count_failure(self._metrics, http_request.target.route, traced.found, trace)
            return response
        self._metrics.count_request(traced.found.route, "ok")
        if sampled.is_recording:
            end_answered(traced.admitted, (traced.found,))
        else:  # the path's own trace is sent nowhere
            note_replies((traced.found,), sampled)
        return response

    async def _explain(
        self,
        http_request: HttpRequest,
        served: ServedRoute,
        body: bytes,
        query: Mapping[str, str],
        trace: SampledTrace,
    ) -> tuple[_Traced, Response]:
        """Read, answer and write; all of it ends if the client disconnects."""
        caller, path = http_request.caller, trace.path
        assert path is not None
        if _holds_tensors(http_request.headers, body):
            request = await self._read_tensors(http_request, served, body, query)
        else:
            request = await read_picture_request(
                body,
                served.manifest,
                http_request.target.route,
                query,
                self._pictures,
                caller,
                max_pictures=1,  # others are not decoded only to be refused
            )
        _check_one_row(request)
        if path.wants_picture:  # which shows a run of its own
            request = request._replace(no_cache=True)
        admitted = follow(trace, self._engine.admit(request))
        found: Reply | SparingError
        try:
            found = await self._engine.answer(request, admitted)
        except SparingError as error:
            found = error
        trace.begin_span()
        traced = _Traced(request, admitted, found)
        if path.wants_picture and isinstance(found, Reply):
            png = await self._draw(traced, path, caller.name)
            if png:
                return traced, (200, [PNG_TYPE], png)
            if not accepts_json(http_request.headers):
                raise refuse_picture(f"route {served.name} cannot draw this row's path")
        return traced, self._write(traced, path, _find_tier(trace))

    async def _read_tensors(
        self,
        http_request: HttpRequest,
        served: ServedRoute,
        body: bytes,
        query: Mapping[str, str],
    ) -> Request:
        """Return the request of an infer body; a large one is parsed in a thread."""
        limit = limit_body(served.row_json_bytes, 1, self._max_body_bytes)
        if len(body) > limit:
            raise BodyTooLarge(f"body: given {len(body)} bytes, allowed {limit} for one row")
        arrived, caller = time.monotonic(), http_request.caller
        length, route = http_request.headers.get(_LENGTH), http_request.target.route
        if len(body) > LARGE_BYTES:
            parsed = await self._offload.run(
                caller.name, read_request, body, length, served.manifest, route,
                query.get("version"),
            )  # fmt: skip
        else:
            parsed = read_request(body, length, served.manifest, route, query.get("version"))
        return parsed.request._replace(
            deadline=None if parsed.timeout_s is None else arrived + parsed.timeout_s,
            tenant=caller.tenant,
            caller=caller.name,
            rollout_key=caller.rollout_key,
        )

    async def _draw(self, traced: _Traced, path: RowPath, caller: str) -> bytes:
        """Return a PNG; nothing where the row's path cannot be drawn."""
        drawer = find_drawer(traced.admitted.served.pipeline)
        if drawer is None:
            return b""
        return await self._offload.run(caller, draw, drawer, traced.request.inputs, path)

    def _write(self, traced: _Traced, path: RowPath, cache_tier: int | None) -> Response:
        request, admitted, found = traced
        served, (key,) = admitted.served, admitted.keys
        explained = Explained(
            admitted.apply(request),
            served.manifest,
            served.digest,
            served.is_cached and key is not None,
            key is not None and self._engine.memory.holds(key),
            path,
            cache_tier,
        )
        if isinstance(found, Reply):
            return 200, [JSON_TYPE], _dump(describe_explanation(explained, found))
        status, headers, _ = refuse(found)
        facts = describe_explanation(explained, None)
        sentence = str(found).encode(errors="replace").decode()
        return status, headers, _dump({"error": sentence, "explanation": facts})


def _holds_tensors(headers: HeaderMap, body: bytes) -> bool:
    """Return whether a body is one of `infer`: binary, or a JSON object. Pictures are files or a
    JSON list.
    """
    return _LENGTH in headers or _OBJECT.match(body) is not None


def _check_one_row(request: Request) -> None:
    rows = len(next(iter(request.inputs.values())))
    if rows != 1:
        raise InvalidInput(f"inputs: given {rows} rows, allowed 1 that is explained")


def _find_tier(trace: SampledTrace) -> int | None:
    """Return which cache held the row: 1 in the process, 2 the remote one."""
    for span in trace.spans:
        if span.name == "cache" and span.attributes["hits"]:
            return int(span.attributes["tier"])
    return None


def _dump(facts: JsonObject) -> bytes:
    return orjson.dumps(facts, option=orjson.OPT_SERIALIZE_NUMPY)
