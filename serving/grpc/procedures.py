"""The procedures of the Open Inference Protocol, from bytes to bytes, without a transport.

They call the engine and convert; they decide nothing about routing, caching or thresholds. How
calls arrive, which status an error gets and how the server drains is left to
`serving.grpc.endpoint`.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Protocol

from google.protobuf.json_format import ParseDict

from core.errors import BodyTooLarge, SparingError, UnknownRoute
from core.manifest import Manifest
from core.messages import Reply, Request
from core.version import read_version
from monitoring.access_log import is_logged, note_request
from monitoring.tracing.traces import NO_TRACE, Trace
from serving.callers import UNKNOWN, Caller
from serving.engine.admission import Admitted
from serving.engine.body_limits import limit_body
from serving.engine.catalog import Catalog, ServedRoute
from serving.engine.traced_requests import end_answered, follow
from serving.grpc.codec import ParsedRequest, decode_request, encode_reply
from serving.grpc.messages import Message, Messages, Method
from serving.grpc.repeated_messages import (
    KnownRequest,
    RepeatedReplies,
    RepeatedRequests,
    find_raw_input,
)
from serving.oip.descriptions import describe_statistics, describe_tensor
from serving.oip.outputs import select_outputs
from serving.oip.statistics import read_index, read_statistics
from serving.scheduling.progress import Health

# The float: seconds left.
Procedure = Callable[[bytes, float | None, Trace, Caller], Awaitable[bytes]]


class Engine(Protocol):
    """The part of the engine that this endpoint uses."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def draining(self) -> bool: ...
    def health(self) -> Health: ...
    def resolve(self, route: str, version: str | None, key: str = "") -> ServedRoute: ...
    def admit(self, request: Request) -> Admitted: ...
    async def answer(self, request: Request, admitted: Admitted | None = None) -> Reply: ...
    def infer(self, request: Request, admitted: Admitted | None = None) -> AsyncIterator[Reply]: ...


class RequestCounts(Protocol):
    """Counts answered requests; `result` is "ok" or the error's class name."""

    def count_request(self, route: str | None, result: str, /) -> None: ...
    def request_results(self, route: str, /) -> Mapping[str, int]: ...


class GrpcService:
    """Answers all calls; keeps only what repeats between them."""

    def __init__(
        self,
        engine: Engine,
        metrics: RequestCounts,
        messages: Messages,
        *,
        max_rows: int = 256,  # in one request
        max_body_bytes: int = 16 * 2**20,
    ) -> None:
        self._engine = engine
        self._max_rows = max_rows
        self._max_body_bytes = max_body_bytes
        self._metrics = metrics
        self._messages = messages
        self._requests = RepeatedRequests()
        self._replies = RepeatedReplies(messages.infer_response)
        methods = {method.name: method for method in messages.methods()}
        self._infer_method = methods["ModelInfer"]
        answers = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelStatistics": self.model_statistics,
            "RepositoryIndex": self.repository_index,
        }
        self.unary: Mapping[str, Procedure] = {
            "ModelInfer": self.infer,
            **{name: _procedure(methods[name], answer) for name, answer in answers.items()},
        }

    @property
    def ready(self) -> bool:
        """Whether new requests are accepted."""
        return not self._engine.draining and self._engine.health().ready

    def server_live(self, _request: Message) -> Message:
        return self._messages.server_live(live=self._engine.health().live)

    def server_ready(self, _request: Message) -> Message:
        return self._messages.server_ready(ready=self.ready)

    def model_ready(self, request: Message) -> Message:
        try:
            self._engine.resolve(request.name, request.version or None)
        except UnknownRoute:
            return self._messages.model_ready(ready=False)
        return self._messages.model_ready(ready=self.ready)

    def server_metadata(self, _request: Message) -> Message:
        return self._messages.server_metadata(name="sparing", version=read_version())

    def model_metadata(self, request: Message) -> Message:
        served = self._engine.resolve(request.name, request.version or None)
        message = self._messages.model_metadata(
            name=request.name,
            versions=[
                one.version for one in self._engine.catalog.routes() if one.name == served.name
            ],
            platform=served.manifest.pipeline,
        )
        for specs, tensors in (
            (served.manifest.inputs, message.inputs),
            (served.manifest.outputs, message.outputs),
        ):
            for spec in specs:
                tensors.add(**describe_tensor(spec))
        return message

    def model_statistics(self, request: Message) -> Message:
        message = self._messages.model_statistics()
        for found in read_statistics(
            self._engine.catalog, self._metrics.request_results, request.name, request.version
        ):
            ParseDict(describe_statistics(found), message.model_stats.add())
        return message

    def repository_index(self, request: Message) -> Message:
        message = self._messages.repository_index()
        draining = self._engine.draining
        for entry in read_index(self._engine.catalog, ready=request.ready, draining=draining):
            message.models.add(**entry._asdict())
        return message

    def parse(self, raw: bytes) -> Message:
        """Parse a ModelInferRequest. Raises SparingError, also for more bytes than its route
        takes.
        """
        return self._infer_method.parse(raw, self._check_size)

    def _check_size(self, route: str, version: str, size_bytes: int) -> None:
        served = self._engine.resolve(route, version or None)
        limit = limit_body(served.row_json_bytes, self._max_rows, self._max_body_bytes)
        if size_bytes > limit:
            raise BodyTooLarge(
                f"the request: given {size_bytes} bytes, route {served.name} takes at most {limit}"
            )

    async def infer(
        self,
        raw: bytes,
        remaining_s: float | None,
        trace: Trace = NO_TRACE,
        caller: Caller = UNKNOWN,
    ) -> bytes:
        """Answer ModelInfer. Raises SparingError."""
        start = find_raw_input(raw)
        known = self._requests.find(raw, start)
        message: Message = None if known is not None else self.parse(raw)
        route = message.model_name if known is None else known.parsed.request.route
        version = message.model_version if known is None else known.parsed.request.version
        key = caller.rollout_key or caller.name
        try:
            parsed = self._read_raw(raw, start, known, message, key)
            request = _complete(parsed, remaining_s, caller)
            admitted = follow(trace, self._engine.admit(request))
            reply = await self._engine.answer(request, admitted)
            trace.begin_span()
            response = self._write(parsed, admitted.served.manifest, reply)
        except Exception as error:
            self._count_failure(route, version, key, error, trace)
            raise
        self._metrics.count_request(reply.route, "ok")
        self._engine.catalog.count_result(route, version or None, key, "ok")
        end_answered(admitted, (reply,))
        return response

    async def infer_stream(
        self,
        message: Message,
        remaining_s: float | None,
        trace: Trace = NO_TRACE,
        caller: Caller = UNKNOWN,
    ) -> AsyncGenerator[Message, None]:
        """Answer one request of ModelStreamInfer: a response for each reply. Raises
        SparingError.
        """
        version, key = message.model_version or None, caller.rollout_key or caller.name
        try:
            served, parsed = self._read(message, key, stream=True)
            request = _complete(parsed, remaining_s, caller)
            admitted = follow(trace, self._engine.admit(request))
            written: list[Reply] = []
            is_kept = trace.is_recording or is_logged()
            async with aclosing(self._follow(request, admitted)) as replies:
                async for reply in replies:
                    if is_kept:
                        trace.begin_span()
                        written.append(reply)
                    response = self._encode(parsed, self._answering(served, reply), reply)
                    response.parameters["triton_final_response"].bool_param = reply.final
                    if reply.rows is not None:
                        response.parameters["rows"].string_param = ",".join(map(str, reply.rows))
                    yield response
        except Exception as error:
            self._count_failure(message.model_name, version, key, error, trace)
            raise
        self._metrics.count_request(served.name, "ok")
        self._engine.catalog.count_result(message.model_name, version, key, "ok")
        end_answered(admitted, written)

    async def _follow(self, request: Request, admitted: Admitted) -> AsyncGenerator[Reply, None]:
        """Yield the engine's replies; closing this generator releases the call at once."""
        replies = self._engine.infer(request, admitted)
        try:
            async for reply in replies:
                yield reply
        finally:
            if isinstance(replies, AsyncGenerator):
                await replies.aclose()

    def _read_raw(
        self, raw: bytes, start: int, known: KnownRequest | None, message: Message, key: str
    ) -> ParsedRequest:
        """Read a request from the known beginning of its message, else from the message, which is
        then remembered.
        """
        if known is not None:
            old = known.parsed.request
            served = self._engine.resolve(old.route, old.version, key)
            if served.manifest.digest == known.digest:
                return known.read(raw, start)
            message = self.parse(raw)
        served, parsed = self._read(message, key, stream=False)
        self._requests.remember(raw, start, parsed, served.manifest)
        return parsed

    def _read(
        self, message: Message, key: str, *, stream: bool
    ) -> tuple[ServedRoute, ParsedRequest]:
        served = self._engine.resolve(message.model_name, message.model_version or None, key)
        return served, decode_request(message, served.manifest, stream=stream)

    def _write(self, parsed: ParsedRequest, manifest: Manifest, reply: Reply) -> bytes:
        if parsed.raw:
            names = select_outputs(manifest, parsed.outputs)
            return self._replies.write(reply, manifest, names, parsed.id)
        return self._encode(parsed, manifest, reply).SerializeToString()  # type: ignore[no-any-return]

    def _encode(self, parsed: ParsedRequest, manifest: Manifest, reply: Reply) -> Message:
        return encode_reply(
            self._messages.infer_response,
            reply,
            manifest,
            select_outputs(manifest, parsed.outputs),
            request_id=parsed.id,
            raw=parsed.raw,
        )

    def _answering(self, served: ServedRoute, reply: Reply) -> Manifest:
        """Return the manifest of the route that gave a reply: `auto:<task>` may have chosen
        another.
        """
        if (reply.route, reply.version) != (served.name, served.version):
            served = self._engine.resolve(reply.route, reply.version)
        return served.manifest

    def _count_failure(
        self, route: str, version: str | None, key: str, error: Exception, trace: Trace
    ) -> None:
        result = type(error).__name__ if isinstance(error, SparingError) else "InternalError"
        self._metrics.count_request(route, result)
        self._engine.catalog.count_result(route, version or None, key, result)
        note_request(route)
        trace.end(result)


def _procedure(method: Method, answer: Callable[[Message], Message]) -> Procedure:
    async def call(raw: bytes, _left_s: float | None, _trace: Trace, _caller: Caller) -> bytes:
        return answer(method.parse(raw)).SerializeToString()  # type: ignore[no-any-return]

    return call


def _complete(parsed: ParsedRequest, remaining_s: float | None, caller: Caller) -> Request:
    """Return the request with its caller and deadline, which comes from its own parameter or the
    call's timeout.
    """
    deadline = None
    if parsed.timeout_s is not None or remaining_s is not None:
        timeout_s = min([one for one in (parsed.timeout_s, remaining_s) if one is not None])
        deadline = time.monotonic() + timeout_s
    return parsed.request._replace(
        deadline=deadline,
        tenant=caller.tenant,
        caller=caller.name,
        rollout_key=caller.rollout_key,
    )
