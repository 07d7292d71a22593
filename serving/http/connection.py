"""One HTTP connection: small infer requests without a task, bounded heads, errors in one form.

A small infer request is held back until its body is complete. It then goes to the engine at once,
and its answer to the transport. This saves the request ASGI's task, scope and messages, which cost
more than a small network. All other requests, and refused ones, take the ordinary way through ASGI
from their head on. `endpoint` knows what a request means, `body` its size. In an embedded server
the endpoint is in the lifespan's state (`serving.process.embedded_server`).
"""

import asyncio
import socket
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from serving.engine.calls import Call
from serving.http.connections import ConnectionEntry, ConnectionState
from serving.http.endpoint import ADMITTED_KEY, HttpEndpoint, read_address
from serving.http.exchanges import EngineWork, FastRequest, RefusingConnection, ResponseTransport
from serving.http.head import RequestHead, find_head_fault, read_target, write_without_offers
from serving.http.interfaces import Scope

MAX_BUFFERED_BYTES = 64 * 2**10
MAX_HEAD_BYTES = 64 * 2**10  # also of trailers behind a body; one read may go beyond it
KEEP_ALIVE_S = 75  # for uvicorn's own connections; these here have `server.idle_timeout_s`
# for which a connection without a request stays open when the server shuts down
SHUTDOWN_GRACE_S = 0.2
QUEUED_BYTES = 2048  # for a request that waits for the one before it, without its text
_TCP_CLOSE = 7  # the kernel's state of a reset connection
# key of an embedded server's endpoint in the lifespan state
ENDPOINT_KEY = "sparing.endpoint"


class HttpConnection(RefusingConnection):
    """Counts bytes that belong neither to a complete head nor to a body, reports what it waits for,
    and ends when it should.
    """

    _unparsed_bytes = 0
    _offers_upgrade = False  # a complete head must be read again without its offer
    _parsed_scope: object = None  # the scope of the last complete head
    _host = b"\0"  # the last valid Host, which need not be checked again
    _header_map: Mapping[bytes, bytes]  # the headers of the last head
    _steps = 0  # complete requests, plus answers
    _buffered_bytes = 0
    _queued_bytes = 0  # bytes that came while requests waited for the one before them
    # the held request under way, one at most
    _fast_request: FastRequest | None = None
    _running: RequestResponseCycle | None = None  # the other request that began last
    _entry: ConnectionEntry | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        endpoint = self.app_state.get(ENDPOINT_KEY, self.app)
        assert isinstance(endpoint, HttpEndpoint)
        self._endpoint = endpoint
        self._response_transport = ResponseTransport(transport, self._close_after_reply)
        self._entry = endpoint.connections.add(
            self, endpoint.name_caller(read_address(self.client))
        )
        if self._entry is None:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"connections: {len(endpoint.connections)} have requests under way, which is "
                "the limit; try again",
            )
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._entry is not None:
            self._endpoint.connections.remove(self._entry)
            self._entry = None
        turn, self._fast_request = self._fast_request, None
        if turn is not None and turn.work is not None:
            self._endpoint.release_call(*turn.work)
        self._fall_back()
        # without a cycle both are freed at once
        self._response_transport.close = self.transport.close
        running = self._running
        if running is not None and running is not self.cycle and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)
        if self.pipeline:  # requests that never began need no garbage collection
            self.pipeline.clear()
            self.cycle.on_response = self.transport.close

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return True while complete requests are still to be answered."""
        if self._dropped_bytes is not None:
            return False
        if self._in_body and self._buffered is None:
            if not self.pipeline:
                return False
            self.cycle.disconnected = True  # it waits for the one before it and is incomplete
        self._ended = self._closing = self._is_answering()
        return self._ended

    def shutdown(self) -> None:
        self._fall_back()  # a request with a complete head is answered before the connection closes
        # a request may be arriving
        if self.observe()[0] in {ConnectionState.AWAITING_REQUEST, ConnectionState.AWAITING_HEAD}:
            self.loop.call_later(SHUTDOWN_GRACE_S, self._close_now)
        else:
            super().shutdown()

    def _close_now(self) -> None:
        self._fall_back()
        super().shutdown()

    def observe(self) -> tuple[ConnectionState, int]:
        return self._find_state(), self._steps

    def _find_state(self) -> ConnectionState:
        if self.transport.is_closing():
            return ConnectionState.CLOSING
        if self._dropped_bytes is not None:
            return ConnectionState.REFUSED
        if self.flow.write_paused:
            return ConnectionState.WRITING
        if self._is_answering():
            return ConnectionState.HALF_CLOSED if self._ended else ConnectionState.ANSWERING
        if self._buffered is not None:
            return ConnectionState.AWAITING_BODY
        if self._in_body:
            return ConnectionState.DISCARDING_BODY
        if self.scope is not self._parsed_scope:
            return ConnectionState.AWAITING_HEAD
        return ConnectionState.IDLE if self._steps else ConnectionState.AWAITING_REQUEST

    def _is_answering(self) -> bool:
        cycle = self.cycle
        return bool(self.pipeline) or (cycle is not None and not cycle.response_complete)

    def pending_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    def is_lost(self) -> bool:
        connected: socket.socket | None = self.transport.get_extra_info("socket")
        if connected is None:
            return False
        return connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE

    def time_out(self, state: ConnectionState, after_s: float) -> None:
        if state is ConnectionState.AWAITING_BODY:
            self._fall_back()
        elif state is ConnectionState.AWAITING_HEAD and self.headers:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"head: incomplete after {after_s:g} s")
            self.transport.close()
        elif state in {
            ConnectionState.AWAITING_REQUEST,
            ConnectionState.AWAITING_HEAD,
            ConnectionState.IDLE,
            ConnectionState.DISCARDING_BODY,
            ConnectionState.REFUSED,
        }:
            self.transport.close()
        else:
            self.transport.abort()

    def shed(self) -> None:
        state = self._find_state()
        self._closing = True
        if state in {ConnectionState.AWAITING_HEAD, ConnectionState.AWAITING_BODY}:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE, "request: refused in favour of others; try again"
            )
            self._buffered = None
        elif state not in {ConnectionState.AWAITING_REQUEST, ConnectionState.IDLE}:
            self.transport.abort()
            return
        self.transport.close()
        # if the client does not read
        self.loop.call_later(SHUTDOWN_GRACE_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._discard_bytes(len(data))
            return
        self._unparsed_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data, offer)
        except httptools.HttpParserError as error:
            self._refuse_bytes(error)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self._closing:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"headers: given {self._unparsed_bytes} bytes or more, allowed {MAX_HEAD_BYTES}",
            )
        entry = self._entry
        if entry is not None and (
            entry.unread_bytes
            or self._buffered is not None
            or self.pipeline
            or self.scope is not self._parsed_scope
        ):
            self._count_unread(entry, len(data))

    def _count_unread(self, entry: ConnectionEntry, new_bytes: int) -> None:
        self._queued_bytes = self._queued_bytes + new_bytes if self.pipeline else 0
        unread_bytes = self._queued_bytes + QUEUED_BYTES * len(self.pipeline)
        if self._buffered is not None:
            unread_bytes += self._buffered_bytes
        if self.scope is not self._parsed_scope:
            unread_bytes += self._unparsed_bytes or new_bytes
        if not self.transport.is_closing() and self._dropped_bytes is None:
            self._endpoint.connections.count_unread(entry, unread_bytes)

    def _decline_upgrade(self, data: bytes, offer: httptools.HttpParserUpgrade) -> None:
        """Read on as if no other protocol had been offered: the parser stops at such a head."""
        rest = memoryview(data)
        try:
            while True:
                rest = rest[offer.args[0] :]
                head = write_without_offers(self._read_head())
                self._offers_upgrade = False
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)
                try:
                    self.parser.feed_data(rest)
                    return
                except httptools.HttpParserUpgrade as another:
                    offer = another
        except httptools.HttpParserError as error:
            self._refuse_bytes(error)

    def _read_head(self) -> RequestHead:
        parser = self.parser
        return RequestHead(parser.get_method(), self.url, parser.get_http_version(), self.headers)

    def on_headers_complete(self) -> None:
        self._unparsed_bytes = 0
        self._parsed_scope = self.scope
        header_map = self._header_map = dict(self.headers)
        parser = self.parser
        version = parser.get_http_version()
        if (
            parser.should_upgrade()
            or version != "1.1"
            or header_map.get(b"host") != self._host
            or len(header_map) != len(self.headers)
            or not self.url.startswith(b"/")
        ) and not self._accept_head():
            return
        self._in_body = True
        if version == "1.1" and self._may_buffer():
            self._buffered = []
            self._buffered_bytes = 0
        else:
            self._begin_cycle()
            self.headers = []  # for trailers, which are not headers

    def _accept_head(self) -> bool:
        """Check a complete head; return False if it must be read again without its offer."""
        head = self._read_head()
        if self.parser.should_upgrade() and head.method != b"CONNECT":
            self._offers_upgrade = True
            return False
        fault = find_head_fault(head, self._header_map)
        if fault is not None:
            self._refuse_head(fault)
        self._host = self._header_map.get(b"host", self._host)
        self.url = read_target(head.target) or b"/"
        if head.version == "1.0":
            self.expect_100_continue = False
        return True

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        if self._buffered is None:
            super().on_body(body)
        else:
            self._buffered.append(body)
            self._buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._offers_upgrade:
            return
        self._in_body = False
        self._steps += 1
        if self._buffered is not None and self._try_fast_path():
            return
        super().on_message_complete()
        if not self.parser.should_keep_alive():  # also if only a trailer ends it
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()

    def on_response_complete(self) -> None:
        """Begin the next waiting request; without one, the sweep waits for the client."""
        self._steps += 1
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._dropped_bytes is not None:
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            if self._queued_bytes and not self.pipeline and self._entry is not None:
                self._count_unread(self._entry, 0)
            if not cycle.disconnected:
                self._start_asgi_task(cycle, app)
                return
        if self._ended:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _may_buffer(self) -> bool:
        """Return whether the request may be held: a plain infer request, none under way before
        it.
        """
        cycle = self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and self.url in self._endpoint.fast_paths
            and self.parser.get_method() == b"POST"
            and self.parser.should_keep_alive()
            and self._is_short()
            and not self.expect_100_continue
            and not self.flow.write_paused
        )

    def _is_short(self) -> bool:
        """Return whether the head declares a body that is short enough to be held."""
        length = self._header_map.get(b"content-length", b"")
        return len(length) < 8 and length.isdigit() and int(length) <= MAX_BUFFERED_BYTES

    def _fall_back(self) -> None:
        """Send the held part of a request, and the rest of it, through ASGI."""
        if self._buffered is None:
            return
        pieces, self._buffered = self._buffered, None
        self._begin_cycle()
        self.headers = []
        for piece in pieces:
            super().on_body(piece)

    def _try_fast_path(self) -> bool:
        """Answer from the cache or begin the call; False if the request goes through ASGI
        instead.
        """
        assert self._buffered is not None
        pieces = self._buffered
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        address = read_address(self.client)
        answer, admitted_request = self._endpoint.answer_from_cache(
            self.url, self.headers, self._header_map, body, address
        )
        if answer is None and admitted_request is not None:
            turn = FastRequest()
            done = partial(self.loop.call_soon, self._finish, turn)
            begun = self._endpoint.begin(admitted_request, body, done)
            if isinstance(begun, Call):
                self._buffered = None
                turn.work = EngineWork(admitted_request, body, begun)
                self._fast_request = turn
                self.cycle = cast(RequestResponseCycle, turn)
                return True
            answer = begun
        if answer is None:
            cast(Scope, self.scope)[ADMITTED_KEY] = admitted_request
            self._fall_back()
            return False
        self._buffered = None
        self.transport.write(answer)
        self.on_response_complete()
        return True

    def _finish(self, turn: FastRequest) -> None:
        work, turn.work = turn.work, None
        if self._fast_request is not turn or work is None:  # the client has disconnected
            return
        self._fast_request = None
        close = self._endpoint.draining or not turn.keep_alive
        answer = self._endpoint.finish(*work, close=close)
        turn.response_complete = True
        self.transport.write(answer)
        if close:
            self.transport.close()
        self.on_response_complete()
