"""The gRPC endpoint: the Open Inference Protocol, health and reflection on one grpc.aio server.

The only module that imports grpc. It carries bytes between the network and
`serving.grpc.procedures`, turns errors into statuses, and drains; it does not know what a call
means. The transport refuses compressed messages before it decompresses them, so that no small
message can become a large one. Every call is registered before its message is read, so that a call
that never sends one is counted too.
"""

import asyncio
import errno
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

import grpc
import grpc.aio

from core.errors import InvalidInput, SparingError, Unauthorized
from monitoring.access_log import AccessLog, note_request, note_status
from monitoring.tracing.sampling import NO_TRACING, Tracing
from serving.callers import ROLLOUT_KEY, Caller, Callers, Headers, use_rollout_key
from serving.configuration.certificates import ServerTls
from serving.engine.byte_budget import ByteBudget
from serving.grpc.health import HEALTH, REFLECTION, REFLECTION_ALPHA, Health, Reflection
from serving.grpc.messages import SERVICE, Messages, Method
from serving.grpc.observed_calls import CallObserver
from serving.grpc.open_calls import (
    CHECKS,
    INFER,
    REFLECTIONS,
    STREAMS,
    WATCHES,
    EndReason,
    Kind,
    OpenCall,
    OpenCalls,
)
from serving.grpc.options import NO_TOKEN, REFUSED_METHODS, list_options
from serving.grpc.peers import encode, read_address, read_remaining_s
from serving.grpc.procedures import Engine, GrpcService, Procedure, RequestCounts
from serving.grpc.stalled_calls import StalledCallSweeper
from serving.grpc.status import END_STATUS, FAILED, describe, is_news, shorten
from serving.grpc.stream import StreamCall, StreamIo, run_until_event
from serving.grpc.unfinished_messages import UnfinishedMessages, received_bytes
from serving.settings import ServerSettings

STOP_S = 1.0  # for statuses to leave after the last call

_HEALTH = f"/{HEALTH}/"
_log = logging.getLogger(__name__)

# grpc has no type annotations: contexts and method handlers are Any.
Context = Any
Handler = Any
StreamHandler = Callable[[object, Context], Awaitable[None]]
_make_handler: Callable[[StreamHandler], Handler] = grpc.stream_stream_rpc_method_handler


class GrpcEndpoint:
    """One listening server. Call `start` once, then `drain` once, on the same event loop."""

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings,
        metrics: RequestCounts,
        *,
        tracing: Tracing = NO_TRACING,
        shares_port: bool = False,
        max_rows: int = 256,  # in one request
        callers: Callers | None = None,
        access: AccessLog | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._tracing = tracing
        self._shares_port = shares_port  # with other processes that set it too
        self._callers = callers or Callers(settings)
        self._tls = tls
        self._observer = CallObserver(access, self._callers, tracing is not NO_TRACING)
        self._messages = Messages()
        self._service = GrpcService(
            engine,
            metrics,
            self._messages,
            max_rows=max_rows,
            max_body_bytes=settings.max_body_bytes,
        )
        self._held = ByteBudget(settings.max_body_bytes_in_flight)
        self._draining = asyncio.Event()
        self._server: Any = None
        self._port = 0
        self._calls = OpenCalls(
            self._end,
            message_timeout_s=settings.grpc_message_timeout_s,
            idle_s=settings.grpc_stream_idle_s,
        )
        self._sweeper = StalledCallSweeper(
            self._calls,
            UnfinishedMessages(lambda: received_bytes(self._port)),
            limit_bytes=settings.max_body_bytes_in_flight,
            max_message_bytes=settings.max_body_bytes,
        )
        self._sweeping: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._handlers = self._make_handlers()

    async def start(self) -> int:
        """Listen and return the port. Raises OSError if the address is not available."""
        logging.getLogger("grpc._cython.cygrpc").addFilter(is_news)
        self._server = grpc.aio.server(options=list_options(self._settings, self._shares_port))
        self._server.add_generic_rpc_handlers([self])
        try:
            self._port = self._bind(self._settings.host, self._settings.grpc_port)
        except RuntimeError as error:
            why = "the address is in use or not one of this machine"
            if self._tls is not None:
                why += ", or gRPC cannot use a key of the certificate's kind"
            raise OSError(errno.EADDRINUSE, why) from error
        await self._server.start()
        self._sweeping = asyncio.create_task(self._sweeper.run(self._port))
        return self._port

    def _bind(self, host: str, port: int) -> int:
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if self._tls is None:
            return self._server.add_insecure_port(place)  # type: ignore[no-any-return]
        first, fetch = self._tls.follow(grpc.ssl_server_certificate_configuration)
        secure = grpc.dynamic_ssl_server_credentials(first, fetch)
        return self._server.add_secure_port(place, secure)  # type: ignore[no-any-return]

    async def drain(self, timeout_s: float) -> None:
        """Accept nothing more; return when all accepted calls are answered or the time is over.

        For `drain_s`, new calls get a status that sends them to another server; then the port
        closes. A call that is not answered in time, or whose message has not arrived, ends as
        UNAVAILABLE.
        """
        self._draining.set()
        if self._server is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        await asyncio.sleep(min(self._settings.drain_s, timeout_s))
        self._calls.end_all(self._calls.stalled(), EndReason.DRAINING)
        await self._calls.empty(deadline - loop.time())
        self._calls.end_all(self._calls, EndReason.DRAINING)
        await asyncio.gather(*self._endings)
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._server.stop(STOP_S)

    def service(self, call: Any) -> Handler | None:
        """Return a call's handler, for grpc; the token is checked before a body is read."""
        method: str = call.method
        draining = self._draining.is_set()
        if (draining or self._callers.needs_token) and not method.startswith(_HEALTH):
            name = method.rpartition("/")[2]
            if draining:
                code = grpc.StatusCode.UNAVAILABLE
                return _make_handler(self._observer.refuse(name, code, EndReason.DRAINING.value))
            try:
                self._callers.authorize(encode(call.invocation_metadata))
            except Unauthorized:
                code = grpc.StatusCode.UNAUTHENTICATED
                return _make_handler(self._observer.refuse_token(name, code, NO_TOKEN))
        return self._handlers.get(method)

    def _make_handlers(self) -> Mapping[str, Handler]:
        """Make the handlers, which all read messages themselves: the library's unary handlers begin
        only when a message is complete.
        """
        handlers: dict[str, Handler] = {}
        for method in self._messages.methods():
            if method.streams:
                handlers[method.path] = _make_handler(self._stream(method))
            else:
                work = self._service.unary[method.name]
                handlers[method.path] = grpc.stream_unary_rpc_method_handler(
                    self._observer.call(method.name, self._unary(method, work))
                )
        for name, sentence in REFUSED_METHODS.items():
            refuse = self._observer.refuse(name, grpc.StatusCode.UNIMPLEMENTED, sentence)
            handlers[f"/{SERVICE}/{name}"] = _make_handler(refuse)
        health = Health(self._draining, lambda: self._service.ready)
        check = self._observer.call("Check", self._check(health))
        handlers[_HEALTH + "Check"] = grpc.stream_unary_rpc_method_handler(check)
        handlers[_HEALTH + "Watch"] = _make_handler(self._watch(health))
        reflect = _make_handler(self._reflect(Reflection(self._messages)))
        for name in (REFLECTION, REFLECTION_ALPHA):
            handlers[f"/{name}/ServerReflectionInfo"] = reflect
        return handlers

    # Calls ----------------------------------------------------------------------------------------

    def _unary(
        self, method: Method, work: Procedure
    ) -> Callable[[object, Context], Awaitable[bytes]]:
        async def call(_requests: object, context: Context) -> bytes:
            opened = None
            try:
                opened, caller = self._open(INFER, context)
                raw = await context.read()
                self._receive_only(opened, raw)
                trace = self._tracing.start_from_metadata(context.invocation_metadata)
                self._held.take(len(raw))
                try:
                    answer = await work(raw, read_remaining_s(context), trace, caller)
                finally:
                    self._held.add(-len(raw))
                    raw = b""  # the library keeps this frame if the call was refused
                self._close_when_read(opened)
                opened = None
                return answer
            except SparingError as error:
                await _refuse(context, error)
            except grpc.aio.AbortError:
                raise  # ended by the server
            except Exception:
                _log.exception("%s failed", method.path)
                await context.abort(grpc.StatusCode.INTERNAL, FAILED)
            finally:
                if opened is not None:
                    opened.close()
            raise AssertionError("abort raises")

        return call

    def _stream(self, method: Method) -> StreamHandler:
        async def serve(opened: OpenCall, caller: Caller) -> None:
            context = opened.context
            wire = StreamIo(opened, self._calls, self._sweeper.count_message)

            def respond(raw: bytes) -> AsyncGenerator[bytes, None]:
                replies = self._respond(method, raw, context, caller)
                return self._observer.stream(method.name, context, caller.name, replies)

            stream = StreamCall(wire.read, wire.write, respond, wire.rest)
            try:
                is_read = await stream.run(self._draining)
            except ExceptionGroup as failed:  # for instance if the client has disconnected
                raise failed.exceptions[0] from None
            if not is_read:
                await context.abort(grpc.StatusCode.UNAVAILABLE, EndReason.DRAINING.value)

        return self._streaming(STREAMS, serve)

    async def _respond(
        self, method: Method, raw: bytes, context: Context, caller: Caller
    ) -> AsyncGenerator[bytes, None]:
        """Yield the responses to one request of a stream; an error is a response too."""
        trace = self._tracing.start_from_metadata(context.invocation_metadata)
        request_id = ""
        try:
            self._held.take(len(raw))
            try:
                message = self._service.parse(raw)
                request_id = message.id
                left_s = read_remaining_s(context)
                replies = self._service.infer_stream(message, left_s, trace, caller)
                async with aclosing(replies):
                    async for reply in replies:
                        response = self._messages.stream_response(infer_response=reply)
                        yield response.SerializeToString()
            finally:
                self._held.add(-len(raw))
            return
        except SparingError as error:
            code, sentence = describe(error)[0], shorten(error)
        except Exception:
            _log.exception("a request of %s failed", method.path)
            code, sentence = "INTERNAL", FAILED
        note_status(code)
        failure = self._messages.stream_response(error_message=sentence)
        failure.infer_response.id = request_id
        yield failure.SerializeToString()

    def _streaming(
        self, kind: Kind, serve: Callable[[OpenCall, Caller], Awaitable[None]]
    ) -> StreamHandler:
        """Return a handler that registers the call and turns errors into statuses."""

        async def call(_requests: object, context: Context) -> None:
            opened = None
            try:
                opened, caller = self._open(kind, context)
                await serve(opened, caller)
            except SparingError as error:
                await _refuse(context, error)
            finally:
                if opened is not None:
                    opened.close()

        return call

    def _open(self, kind: Kind, context: Context) -> tuple[OpenCall, Caller]:
        """Register a call that waits for its first message. Raises SparingError."""
        peer: str = context.peer()
        if kind is CHECKS or kind is WATCHES:  # these need no token
            caller = self._callers.of_address(read_address(peer))
        else:
            headers: Headers = ()
            by_key = self._engine.catalog.has_rollouts
            if by_key or self._callers.reads_headers:
                headers = encode(context.invocation_metadata())
            caller = self._callers.find(headers, read_address(peer))
            if by_key:
                caller = use_rollout_key(caller, dict(headers).get(ROLLOUT_KEY))
            note_request(caller=caller.name)
        return self._calls.begin(kind, caller.name, peer, context, asyncio.current_task()), caller

    async def _read_only(self, opened: OpenCall) -> bytes:
        """Read the message of a unary call. Raises InvalidInput."""
        raw: bytes = await opened.context.read()
        self._receive_only(opened, raw)
        return raw

    def _receive_only(self, opened: OpenCall, raw: object) -> None:
        """Note a unary call's message. Raises InvalidInput if the call ended without one."""
        if not isinstance(raw, bytes):
            raise InvalidInput("the call: ended without a message, allowed one message")
        opened.since = None
        self._sweeper.count_message(opened, raw)

    def _close_when_read(self, opened: OpenCall) -> None:
        """Close the call once the client has read the answer, which the library sends."""
        self._calls.wait(opened, EndReason.UNREAD)
        opened.task.add_done_callback(opened.close)

    # Calls that the server ends ---------------------------------------------------------------

    def _end(self, call: OpenCall, why: EndReason) -> None:
        self._sweeper.note_end(call, why)
        context = call.context

        async def abort() -> None:
            if not context.done():
                with suppress(grpc.aio.BaseError):  # AbortError, or it is over already
                    await context.abort(grpc.StatusCode[END_STATUS[why]], why.value)

        ending = asyncio.create_task(abort())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        call.task.cancel()

    # Health and reflection --------------------------------------------------------------------

    def _check(self, health: Health) -> Callable[[object, Context], Awaitable[bytes]]:
        async def call(_requests: object, context: Context) -> bytes:
            opened = None
            try:
                opened, _ = self._open(CHECKS, context)
                found = health.check(await self._read_only(opened))
                if found is None:
                    await context.abort(grpc.StatusCode.NOT_FOUND, "service: no such service")
                else:
                    self._close_when_read(opened)
                    opened = None
                    return found
            except SparingError as error:
                await _refuse(context, error)
            finally:
                if opened is not None:
                    opened.close()
            raise AssertionError("abort raises")

        return call

    def _watch(self, health: Health) -> StreamHandler:
        async def serve(opened: OpenCall, _caller: Caller) -> None:
            context = opened.context
            raw = await self._read_only(opened)
            async with aclosing(health.watch(raw)) as states:
                async for state in states:
                    self._calls.wait(opened, EndReason.UNREAD)
                    await context.write(state)
                    opened.since = None

        return self._streaming(WATCHES, serve)

    def _reflect(self, reflection: Reflection) -> StreamHandler:
        async def serve(opened: OpenCall, _caller: Caller) -> None:
            context = opened.context
            wire = StreamIo(opened, self._calls, self._sweeper.count_message)

            async def requests() -> AsyncGenerator[bytes, None]:
                while (raw := await wire.read()) is not None:
                    yield raw

            async def answer() -> None:
                async for reply in reflection.answer(requests()):
                    await wire.write(reply)
                    wire.rest()

            if not await run_until_event(self._draining, answer()):
                await context.abort(grpc.StatusCode.UNAVAILABLE, EndReason.DRAINING.value)

        return self._streaming(REFLECTIONS, serve)


async def _refuse(context: Context, error: SparingError) -> None:
    """End the call with the error's status; always raises."""
    error.__traceback__ = None  # the library keeps the error, and its traceback keeps all frames
    code, sentence, trailing = describe(error)
    before = context.trailing_metadata() if trailing else None  # abort would replace it
    await context.abort(grpc.StatusCode[code], sentence, (*(before or ()), *trailing))
