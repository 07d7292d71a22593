"""What a connection adds to uvicorn's own cycles: held requests, and refusals behind which it
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

MAX_DROPPED_BYTES = 16 * 2**20  # that a client sends on after it was refused


class _NoEvent:
    """Whom the server wakes when a client goes away: a turn has its own way of learning it."""

    def set(self) -> None:
        pass


class EngineWork(NamedTuple):
    """What the engine does for a held request."""

    admitted_request: AdmittedRequest
    body: bytes
    call: Call


class FastRequest:
    """A held request that the engine works on; to the server it stands for its own cycle.

    Its connection keeps it until the next request comes, so it lets go of its work once answered.
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
    """An application that answers a request with a refusal, in its turn."""
    body = error_body(sentence)
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body)), CLOSE]

    async def refuse(_scope: object, _receive: object, send: ASGISendCallable) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return refuse


class HeadRejected(Exception):
    """Ends the parser's work on what the connection has refused."""


class ResponseTransport:
    """What a cycle uses of its connection's transport."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.close = close
        self.is_closing = transport.is_closing


class RefusingConnection(HttpToolsProtocol):
    """A connection that can refuse what it reads: it answers in turn, drops what still comes, and
    closes.
    """

    _endpoint: HttpEndpoint
    _response_transport: ResponseTransport

    _closing = False  # nothing more is read
    _ended = False  # the client sends no more, and is still to be answered
    _dropped_bytes: int | None = None  # that came after the last answer was written
    _in_body = False  # a head was read whole, and its body was not
    _buffered: list[bytes] | None = None  # the pieces of a body that is held back

    def _begin_cycle(self) -> None:
        super().on_headers_complete()
        self.cycle.transport = cast(asyncio.Transport, self._response_transport)

    def _refuse_head(self, fault: HeadFault) -> None:
        """Answer this head in its turn, and read nothing that comes behind it."""
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
        """Answer and close; a whole request that came before is answered instead."""
        self._closing = True
        self._endpoint.count_refused(status)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False
            return
        if self.pipeline:  # a request before it is still to be answered
            self.pipeline[0] = (cycle, make_refusal(status, sentence))
            return
        answered = self._in_body and self._buffered is None and cycle.response_complete
        if not answered:
            self.transport.write(write_response(status, [JSON_TYPE, CLOSE], error_body(sentence)))
        if cycle is not None and not cycle.response_complete:  # its body will not come
            cycle.disconnected = True
            cycle.waiting_for_100_continue = False
            cycle.message_event.set()
        self._close_after_reply()

    def _close_after_reply(self) -> None:
        """Close behind the last answer. Where the client may still be sending, its bytes are
        dropped for a moment: the kernel would answer them with a reset, and the client might see
        that alone.
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
