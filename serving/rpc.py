"""The gRPC door: the Open Inference Protocol, health and reflection on one grpc.aio server.

The only module that imports grpc. It carries bytes between the wire and `serving.rpc_service`,
turns errors into statuses and drains; what a call means is not its business. Compressed messages
are refused by the transport before they are unpacked, so no small message becomes a large one.
"""

import asyncio
import errno
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from core.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidInput,
    ModelDirectoryError,
    Overloaded,
    RequestTimeout,
    RouteUnavailable,
    SparingError,
    StageFailed,
    Unauthorized,
    UnknownRoute,
    UnsupportedEncoding,
)
from monitoring.sampling import NO_TRACING, Tracing
from serving.callers import Caller, Callers
from serving.rpc_messages import SERVICE, Message, Messages, Method
from serving.rpc_service import Engine, Procedure, RequestCounts, RpcService
from serving.rpc_stream import StreamCall, run_before
from serving.settings import DoorSettings

STATUS: Mapping[type[SparingError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    BodyTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnsupportedEncoding: grpc.StatusCode.UNIMPLEMENTED,
    Unauthorized: grpc.StatusCode.UNAUTHENTICATED,
    UnknownRoute: grpc.StatusCode.NOT_FOUND,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RequestTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    RouteUnavailable: grpc.StatusCode.UNAVAILABLE,
    StageFailed: grpc.StatusCode.INTERNAL,
    ModelDirectoryError: grpc.StatusCode.UNAVAILABLE,
}

MAX_CALLS = 4096  # of all connections at once; more are refused with RESOURCE_EXHAUSTED
MAX_SENTENCE = 1000  # statuses travel in trailers, which clients bound at 8 kB
TIMEOUT_SHARE = 0.99  # clients round timeouts up before sending: 10 s was seen to arrive as 10.1 s
DRAINING = "the server is draining, ask another one"
FAILED = "the server failed on this request, its log says why"

_HEALTH = "/grpc.health.v1.Health/"
_log = logging.getLogger(__name__)

# grpc has no types: contexts and method handlers are Any.
Context = Any
Handler = Any


class RpcDoor:
    """One listening server. `start` once, then `drain` once, on the same event loop."""

    def __init__(
        self,
        engine: Engine,
        settings: DoorSettings,
        metrics: RequestCounts,
        *,
        tracing: Tracing = NO_TRACING,
        shares_port: bool = False,
    ) -> None:
        self._settings = settings
        self._tracing = tracing
        self._shares_port = shares_port  # with other processes that say so too
        self._callers = Callers(settings)
        self._messages = Messages()
        self._service = RpcService(engine, metrics, self._messages)
        self._bytes_in_flight = 0
        self._draining = asyncio.Event()
        self._server: Any = None
        self._refused = grpc.stream_stream_rpc_method_handler(self._refuse_token)
        self._handlers = self._make_handlers()

    async def start(self) -> int:
        """Listen; returns the port. Raises OSError when the address cannot be had."""
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
        host, port = self._settings.host, self._settings.grpc_port
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", int(self._shares_port)),
                ("grpc.max_receive_message_length", self._settings.max_body_bytes),
                ("grpc.compression_enabled_algorithms_bitset", 1),  # identity alone
            ],
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        self._server.add_generic_rpc_handlers([self])
        try:
            bound: int = self._server.add_insecure_port(
                f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            )
        except RuntimeError as error:
            raise OSError(
                errno.EADDRINUSE,
                "the address is in use or not one of this machine",
            ) from error
        await self._server.start()
        return bound

    async def drain(self, timeout_s: float) -> None:
        """Accept nothing more; return when all accepted calls are answered or the time is over."""
        self._draining.set()
        if self._server is not None:
            await self._server.stop(timeout_s)

    def service(self, call: Any) -> Handler | None:
        """Grpc asks who handles a call; the token is looked at before a body is read."""
        if self._callers.asks_token and not call.method.startswith(_HEALTH):
            try:
                self._callers.authorize(_encode(call.invocation_metadata))
            except Unauthorized:
                return self._refused
        return self._handlers.get(call.method)

    def _make_handlers(self) -> Mapping[str, Handler]:
        handlers: dict[str, Handler] = {}
        for method in self._messages.methods():
            if method.streams:
                handlers[method.path] = grpc.stream_stream_rpc_method_handler(self._stream(method))
            else:
                work = self._service.unary[method.name]
                handlers[method.path] = grpc.unary_unary_rpc_method_handler(
                    self._unary(method, work)
                )
        return handlers | self._health_handlers() | self._reflection_handlers()

    # Calls ----------------------------------------------------------------------------------------

    def _unary(
        self, method: Method, work: Procedure
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def call(raw: bytes, context: Context) -> bytes:
            trace = self._tracing.of_metadata(context.invocation_metadata)
            try:
                self._admit(raw)
                try:
                    caller = self._find_caller(context)
                    return await work(raw, _remaining_s(context), trace, caller)
                finally:
                    self._bytes_in_flight -= len(raw)
            except SparingError as error:
                await _refuse(context, error)
            except Exception:
                _log.exception("%s failed", method.path)
                await context.abort(grpc.StatusCode.INTERNAL, FAILED)
            raise AssertionError("abort raises")

        return call

    def _stream(self, method: Method) -> Callable[[object, Context], Awaitable[None]]:
        async def call(_requests: object, context: Context) -> None:
            async def read() -> bytes | None:
                raw: bytes | None = await context.read()
                return None if raw is grpc.aio.EOF else raw

            def respond(raw: bytes) -> AsyncGenerator[bytes, None]:
                return self._respond(method, raw, context)

            if not await StreamCall(read, context.write, respond).run(self._draining):
                await context.abort(grpc.StatusCode.UNAVAILABLE, DRAINING)

        return call

    async def _respond(
        self, method: Method, raw: bytes, context: Context
    ) -> AsyncGenerator[bytes, None]:
        """The responses to one request of a stream; an error is a response too."""
        trace = self._tracing.of_metadata(context.invocation_metadata)
        request_id = ""
        try:
            self._admit(raw)
            try:
                message = method.parse(raw)
                request_id = message.id
                caller = self._find_caller(context)
                left_s = _remaining_s(context)
                replies = self._service.infer_stream(message, left_s, trace, caller)
                async with aclosing(replies):
                    async for reply in replies:
                        response = self._messages.stream_response(infer_response=reply)
                        yield response.SerializeToString()
            finally:
                self._bytes_in_flight -= len(raw)
            return
        except SparingError as error:
            sentence = str(error)[:MAX_SENTENCE]
        except Exception:
            _log.exception("a request of %s failed", method.path)
            sentence = FAILED
        failure = self._messages.stream_response(error_message=sentence)
        failure.infer_response.id = request_id
        yield failure.SerializeToString()

    def _find_caller(self, context: Context) -> Caller:
        headers = _encode(context.invocation_metadata()) if self._callers.reads_headers else ()
        return self._callers.find(headers, read_address(context.peer()))

    def _admit(self, raw: bytes) -> None:
        """Count its bytes as under way until the caller takes them off. Raises Overloaded."""
        limit = self._settings.max_body_bytes_in_flight
        if self._bytes_in_flight + len(raw) > limit:
            raise Overloaded(
                f"requests under way hold {self._bytes_in_flight} bytes,"
                f" allowed {limit} together; try again"
            )
        self._bytes_in_flight += len(raw)

    async def _refuse_token(self, _requests: object, context: Context) -> None:
        await _refuse(
            context,
            Unauthorized("metadata authorization: not given or wrong, allowed 'Bearer <token>'"),
        )

    # Health and reflection ------------------------------------------------------------------------

    def _health_handlers(self) -> dict[str, Handler]:
        """Ours, since the library's watchers neither end with a drain nor survive each other."""
        states = health_pb2.HealthCheckResponse
        known = {"", SERVICE, "grpc.health.v1.Health"}

        def state(request: Message) -> Message:
            if request.service not in known:
                return states(status=states.SERVICE_UNKNOWN)
            ready = self._service.ready and not self._draining.is_set()
            return states(status=states.SERVING if ready else states.NOT_SERVING)

        async def check(request: Message, context: Context) -> Message:
            if request.service not in known:
                await context.abort(
                    grpc.StatusCode.NOT_FOUND, f"service: no such {request.service[:80]!r}"
                )
            return state(request)

        async def watch(request: Message, context: Context) -> None:
            await context.write(state(request))
            await self._draining.wait()
            await context.write(state(request))

        coding = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": states.SerializeToString,
        }
        return {
            _HEALTH + "Check": grpc.unary_unary_rpc_method_handler(check, **coding),
            _HEALTH + "Watch": grpc.unary_stream_rpc_method_handler(watch, **coding),
        }

    def _reflection_handlers(self) -> dict[str, Handler]:
        for file in (health_pb2, reflection_pb2):
            self._messages.add(file.DESCRIPTOR.serialized_pb)
        names = (SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        servicer = reflection.aio.ReflectionServicer(names, pool=self._messages.pool)

        async def reflect(requests: object, context: Context) -> None:
            async def answer() -> None:
                async for reply in servicer.ServerReflectionInfo(requests, context):
                    await context.write(reply)

            if not await run_before(self._draining, answer()):
                await context.abort(grpc.StatusCode.UNAVAILABLE, DRAINING)

        handler = grpc.stream_stream_rpc_method_handler(
            reflect,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return {f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": handler}


def read_address(peer: str) -> str:
    """The address in what grpc says of a peer, such as `ipv4:127.0.0.1:50051`."""
    kind, _, place = peer.partition(":")
    return unquote(place.rpartition(":")[0]).strip("[]") if kind in {"ipv4", "ipv6"} else peer


def _encode(metadata: Iterable[tuple[str, str | bytes]]) -> Sequence[tuple[bytes, bytes]]:
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in metadata
    ]


def _remaining_s(context: Context) -> float | None:
    """How long the caller still waits; None when it waits for ever."""
    remaining_s: float | None = context.time_remaining()
    return None if remaining_s is None else remaining_s * TIMEOUT_SHARE


async def _refuse(context: Context, error: SparingError) -> None:
    """End the call with the error's status; raises."""
    trailing: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Overloaded | RouteUnavailable):
        trailing = (("retry-after", str(max(1, math.ceil(error.retry_after_s)))),)
    await context.abort(STATUS[type(error)], str(error)[:MAX_SENTENCE], trailing)


def _is_news(record: logging.LogRecord) -> bool:
    """Not that a call's client was gone when its end was to be written: anybody could fill the log
    with that.
    """
    return not str(record.msg).startswith("ExecuteBatchError")
