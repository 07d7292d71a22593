"""The requests of one connection and their replies, in order.

A small infer request goes to the engine as soon as its body is there, and its reply to the
transport, without a task. Every other request has a task.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from serving.http.body import ClientGone
from serving.http.endpoint import HttpEndpoint
from serving.http.exchange import MAX_BUFFERED_BYTES, Exchange
from serving.http.head import RequestHead
from serving.http.infer.gathering import RowRequest
from serving.http.infer.tensor_body import JSON_TYPE, Headers
from serving.http.interfaces import AdmittedRequest, BegunCall
from serving.http.routing import Incoming
from serving.http.status import (
    CLOSE,
    Refusal,
    Response,
    Stream,
    add_request_id,
    error_body,
    write_response,
    write_stream_head,
)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_HEAD = RequestHead(b"", b"/", "1.1", ())
_log = logging.getLogger("sparing.http")

Answer = Callable[[Incoming], Awaitable[Response]]


class OpenConnections(Protocol):
    """The connections and tasks of one server, which waits for them when it shuts down."""

    connections: set[Any]
    tasks: set[asyncio.Task[None]]


class AnsweringConnection(asyncio.Protocol):
    """The part of a connection that answers requests, in their order."""

    _transport: asyncio.Transport
    _address = ""  # of the client
    _arriving: Exchange | None = None  # its head is complete, its body is not
    _steps = 0  # complete requests, plus replies
    _queued_bytes = 0  # that came while requests waited for the one before them
    _unsent: bytes | None = None  # a whole reply, for a client that does not read
    _writable: asyncio.Future[None] | None = None
    _write_paused = False
    _read_paused = False
    _advancing = False
    _stopped = False  # nothing more is parsed
    _refused = False  # the client may still be sending
    _ended = False  # the client sends no more but still waits for replies
    _dropped_bytes: int | None = None  # after the last reply was written

    def __init__(
        self, endpoint: HttpEndpoint, server: OpenConnections, answer: Answer | None = None
    ) -> None:
        self._endpoint = endpoint
        self._server = server
        self._answer = answer or endpoint.answer
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Exchange] = deque()  # requests without a reply; the first is answered

    def _count_unread(self, new_bytes: int) -> None:
        """Count what the connection holds of incomplete and waiting requests."""
        raise NotImplementedError

    # Beginning ------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Begin requests in turn, until one is under way or waits for its body. Not before all
        that has arrived is parsed: bytes that are no request may make a reply the last.
        """
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._queue:
                first = self._queue[0]
                if not first.begun:
                    self._begin(first)
                elif first.held and first.complete:
                    self._begin_infer(first)
                else:
                    break
        finally:
            self._advancing = False

    def _begin(self, exchange: Exchange) -> None:
        exchange.begun = True
        if exchange.refusal is not None:
            self._reply(exchange, exchange.refusal)
            return
        if exchange.is_short:
            exchange.infer = self._endpoint.find_infer(exchange.describe(self._address))
        if exchange.infer is None:
            self._start_task(exchange)
        else:
            exchange.held = True

    def _begin_infer(self, exchange: Exchange) -> None:
        assert exchange.infer is not None
        exchange.held = False
        body = exchange.take_body()
        self._go_on(exchange, self._endpoint.infer.begin(exchange.infer, body), body)

    def _go_on(
        self, exchange: Exchange, found: Refusal | AdmittedRequest | RowRequest, body: bytes
    ) -> None:
        """Go on with an infer request after its beginning."""
        if isinstance(found, RowRequest):
            exchange.call = self._endpoint.infer.gather(found, body, exchange)
        elif isinstance(found, AdmittedRequest):
            self._submit(exchange, found, body)
        else:
            self._reply(exchange, found)

    def _submit(self, exchange: Exchange, request: AdmittedRequest, body: bytes) -> None:
        done = partial(self._loop.call_soon, self._answer_call, exchange)
        begun = self._endpoint.infer.submit(request, body, done)
        if begun is None:
            exchange.add(body)
            self._start_task(exchange)
        elif isinstance(begun, BegunCall):
            exchange.call = begun
        else:
            self._reply(exchange, begun)

    def _answer_call(self, exchange: Exchange) -> None:
        call, exchange.call = exchange.call, None
        if isinstance(call, BegunCall):  # else the client has disconnected
            self._reply(exchange, self._endpoint.infer.finish(call))

    def answer_row(
        self, exchange: Exchange, message: bytes, headers: Headers, head_bytes: int
    ) -> None:
        """Answer a gathered request with a whole message, whose head has so many bytes."""
        exchange.call = None
        if (
            exchange.request_id
            or exchange.close
            or self._write_paused
            or self._endpoint.draining
            or self._transport.is_closing()
        ):
            self._reply(exchange, (200, headers, message[head_bytes:]))
        else:
            self._transport.write(message)
            self._finish(exchange)

    def refuse_row(self, exchange: Exchange, response: Refusal) -> None:
        """Refuse a gathered request."""
        exchange.call = None
        if not exchange.answered:
            self._reply(exchange, response)

    def answer_alone(self, exchange: Exchange, body: bytes) -> None:
        """Answer a request whose group was refused."""
        exchange.call = None
        assert exchange.infer is not None
        self._go_on(exchange, self._endpoint.infer.begin(exchange.infer, body, alone=True), body)

    def _start_task(self, exchange: Exchange) -> None:
        exchange.held = False
        task = exchange.task = self._loop.create_task(self._run(exchange))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    async def _run(self, exchange: Exchange) -> None:
        try:
            status, headers, body = await self._answer(exchange.describe(self._address))
            if isinstance(body, bytes):
                self._reply(exchange, (status, headers, body))
            else:
                await self._stream(exchange, status, headers, body)
        except ClientGone:
            return
        except asyncio.CancelledError:
            self._transport.abort()
            if not exchange.gone:
                raise
        except Exception:
            _log.exception("a reply could not be sent")
            self._transport.abort()

    # Replying -------------------------------------------------------------------------------------

    def _reply(self, exchange: Exchange, response: Refusal) -> None:
        """Write a whole reply, as soon as the client reads."""
        if exchange.gone or self._transport.is_closing():
            return
        status, headers, body = response
        close = exchange.close = self._is_last(exchange, headers)
        data = write_response(
            status, headers, body, close=close, head_only=exchange.head.method == b"HEAD"
        )
        if exchange.request_id:
            data = add_request_id(data, exchange.request_id)
        if self._write_paused:
            self._unsent = data
        else:
            self._transport.write(data)
            self._finish(exchange)

    def _is_last(self, exchange: Exchange, headers: Headers) -> bool:
        return exchange.close or self._endpoint.draining or CLOSE in headers

    async def _stream(
        self, exchange: Exchange, status: int, headers: Headers, pieces: Stream
    ) -> None:
        """Write a reply piece by piece, each when the client has read enough of those before."""
        chunked = exchange.head.version == "1.1"
        close = exchange.close = not chunked or self._is_last(exchange, headers)
        async with aclosing(pieces):
            await self._wait_writable(exchange)
            exchange.streams = True
            head = write_stream_head(status, headers, chunked=chunked, close=close)
            self._transport.write(add_request_id(head, exchange.request_id))
            if exchange.head.method != b"HEAD":
                async for piece in pieces:
                    await self._wait_writable(exchange)
                    if piece:
                        self._transport.write(
                            b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
                        )
                if chunked:
                    self._transport.write(b"0\r\n\r\n")
        self._finish(exchange)

    async def _wait_writable(self, exchange: Exchange) -> None:
        while self._write_paused and not exchange.gone:
            self._writable = self._loop.create_future()
            await self._writable
        if exchange.gone or self._transport.is_closing():
            raise ClientGone

    def _finish(self, exchange: Exchange) -> None:
        """Go on after a reply, with the next request or with the end of the connection."""
        exchange.answered = True
        if exchange.pieces:
            exchange.drop_body()
        self._steps += 1
        self._queue.popleft()
        if exchange.close or (self._ended and not self._queue):
            self._close_after_reply()
            return
        if self._queue or self._queued_bytes:
            self._count_unread(0)
            self._advance()
        if self._read_paused:
            self.balance_reading()

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        data, self._unsent = self._unsent, None
        if data is not None and self._queue:
            self._transport.write(data)
            self._finish(self._queue[0])

    def send_continue(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_CONTINUE)

    # Refusing and ending --------------------------------------------------------------------------

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Read nothing more. An incomplete request is answered with a refusal; the reply to a
        complete one is the last.
        """
        self._stopped = self._refused = True
        self._endpoint.count_refused(status, self._address)
        arriving, self._arriving = self._arriving, None
        if arriving is None:
            if self._queue:
                self._queue[-1].close = True
            else:
                self._queue_refusal(status, sentence)
        elif arriving.answered:
            self._close_after_reply()
        elif arriving.streams:
            self._transport.abort()
        else:
            arriving.leave()  # its body will never come
            self._queue.pop()
            self._queue_refusal(status, sentence)

    def _queue_refusal(self, status: HTTPStatus, sentence: str) -> None:
        exchange = Exchange(self, _NO_HEAD, close=True)
        exchange.complete = True
        exchange.refusal = (status, [JSON_TYPE, CLOSE], error_body(sentence))
        self._queue.append(exchange)
        self._advance()

    def _close_after_reply(self) -> None:
        """Close after the last reply. If the client may still be sending, its bytes are dropped
        for a moment: otherwise the kernel would answer them with a reset, and the client might see
        only that.
        """
        self._queue.clear()
        if (
            self._ended
            or not (self._refused or self._arriving is not None)
            or self._transport.is_closing()
            or not self._transport.can_write_eof()
        ):
            self._close()
        elif self._dropped_bytes is None:
            self._stopped = True
            self._dropped_bytes = 0
            self._transport.write_eof()
            self.balance_reading()

    def _close(self) -> None:
        self._stopped = True
        self._transport.close()

    def _abandon(self, exchange: Exchange) -> None:
        """Cancel the work on a request whose client has disconnected."""
        call, exchange.call = exchange.call, None
        infer = exchange.infer
        if infer is not None and call is not None:
            self._endpoint.infer.release(call, infer.target.route)
        elif infer is not None and exchange.held:
            self._endpoint.infer.count_gone(infer.target.route)
        exchange.leave()

    def balance_reading(self) -> None:
        """Read on unless a request waits for the one before it, or much of a body is unread."""
        arriving = self._arriving
        is_full = arriving is not None and arriving.buffered_bytes > MAX_BUFFERED_BYTES
        paused = (len(self._queue) > 1 or is_full) and self._dropped_bytes is None
        if paused != self._read_paused and not self._transport.is_closing():
            self._read_paused = paused
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
