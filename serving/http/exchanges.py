"""Extends uvicorn's request cycles: held requests, and refusals after which the connection
closes.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple, cast

import httptools
from uvicorn._types import ASGI3Application, ASGISendCallable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.engine.calls import Call
from serving.http.endpoint import HttpEndpoint
from serving.http.head import HeadFault
from serving.http.infer.tensor_body import JSON_TYPE
from serving.http.routing import AdmittedRequest
from serving.http.status import CLOSE, error_body, write_response

MAX_DROPPED_BYTES = 16 * 2**20  # that a client sends after it was refused


class _NoEvent:
    """Stands for the event by which uvicorn reports a disconnect; a held request learns it
    otherwise.
    """

    def set(self) -> None:
        pass


class EngineWork(NamedTuple):
    """The engine's work for a held request."""

    admitted_request: AdmittedRequest
    body: bytes
    call: Call


class FastRequest:
    """A held request in the engine; for uvicorn it takes the place of a request cycle.

    Its connection keeps it until the next request comes, so it releases its work once answered.
    """

    __slots__ = ("disconnected", "keep_alive", "response_complete", "work")
    more_body = False
    message_event = _NoEvent()

    def __init__(self) -> None:
        self.work: EngineWork | None = None
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False


def make_refusal(status: HTTPStatus, sentence: str) -> ASGI3Application:
    """Return an application that answers a request with a refusal."""
    body = error_body(sentence)
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body)), CLOSE]

    async def refuse(_scope: object, _receive: object, send: ASGISendCallable) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return refuse


class HeadRejected(Exception):
    """Ends the parser's work on a refused head."""


class ResponseTransport:
    """The part of the transport that a request cycle uses."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.close = close
        self.is_closing = transport.is_closing


class RefusingConnection(HttpToolsProtocol):
    """A connection that can refuse a request: it answers in turn, drops further bytes, and
    closes.
    """

    _endpoint: HttpEndpoint
    _response_transport: ResponseTransport

    _closing = False  # nothing more is read
    _ended = False  # the client sends no more but still waits for answers
    _dropped_bytes: int | None = None  # after the last answer was written
    _in_body = False  # a head is complete, its body is not
    _buffered: list[bytes] | None = None  # the pieces of a held body

    def _begin_cycle(self) -> None:
        super().on_headers_complete()
        self.cycle.transport = cast(asyncio.Transport, self._response_transport)

    def _refuse_head(self, fault: HeadFault) -> None:
        """Refuse this head in its turn, and read nothing after it."""
        self._closing = True
        self._endpoint.count_refused(fault.status)
        app, self.app = self.app, make_refusal(fault.status, fault.sentence)
        self.url = b"/"
        self._begin_cycle()
        self.app = app
        self.cycle.keep_alive = False
        raise HeadRejected

    def _refuse_bytes(self, error: httptools.HttpParserError) -> None:
        if not self._closing:
            self._refuse(HTTPStatus.BAD_REQUEST, f"request: not HTTP/1.1: {error}")

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer and close; a complete earlier request gets its own answer instead."""
        self._closing = True
        self._endpoint.count_refused(status)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False
            return
        if self.pipeline:  # an earlier request is still to be answered
            self.pipeline[0] = (cycle, make_refusal(status, sentence))
            return
        answered = self._in_body and self._buffered is None and cycle.response_complete
        if not answered:
            self.transport.write(write_response(status, [JSON_TYPE, CLOSE], error_body(sentence)))
        if cycle is not None and not cycle.response_complete:  # its body will never come
            cycle.disconnected = True
            cycle.waiting_for_100_continue = False
            cycle.message_event.set()
        self._close_after_reply()

    def _close_after_reply(self) -> None:
        """Close after the last answer. If the client may still be sending, its bytes are dropped
        for a moment: otherwise the kernel would answer them with a reset, and the client might see
        only that.
        """
        if (
            self._ended
            or not (self._in_body or self._closing)
            or self.transport.is_closing()
            or not self.transport.can_write_eof()
        ):
            self.transport.close()
        elif self._dropped_bytes is None:
            self._closing = True
            self._dropped_bytes = 0
            self.transport.write_eof()
            self.flow.resume_reading()

    def _discard_bytes(self, new_bytes: int) -> None:
        if self._dropped_bytes is not None:
            self._dropped_bytes += new_bytes
            if self._dropped_bytes > MAX_DROPPED_BYTES:
                self.transport.close()
