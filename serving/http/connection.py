"""One HTTP connection: reads requests within limits, and ends when it should.

httptools parses; `serving.http.head` checks what it leaves open, `serving.http.answering` answers.
`serving.http.connections` decides how long the connection may wait for its client.
"""

import asyncio
import socket
from http import HTTPStatus
from typing import NamedTuple

import httptools

from serving.http.answering import AnsweringConnection
from serving.http.connections import ConnectionEntry, ConnectionState
from serving.http.exchange import Exchange
from serving.http.head import (
    MAX_HEADERS,
    RequestHead,
    find_head_fault,
    read_target,
    write_without_offers,
)
from serving.http.infer.gathering import RowRequest
from serving.http.interfaces import AdmittedRequest
from serving.http.routing import HttpRequest
from serving.http.status import write_response

MAX_HEAD_BYTES = 64 * 2**10  # also of trailers behind a body; one read may go beyond it
MAX_DROPPED_BYTES = 16 * 2**20  # that a client sends after its last reply
# for which a connection without a request stays open when the server shuts down
SHUTDOWN_GRACE_S = 0.2
QUEUED_BYTES = 2048  # for a request that waits for the one before it, without its text
_MAX_KNOWN_BYTES = 2048  # of a head that is remembered, for each connection
_TCP_CLOSE = 7  # the kernel's state of a reset connection
_WAITS_FOR_CLIENT = frozenset(
    {
        ConnectionState.AWAITING_REQUEST,
        ConnectionState.AWAITING_HEAD,
        ConnectionState.IDLE,
        ConnectionState.DISCARDING_BODY,
        ConnectionState.REFUSED,
    }
)


class KnownRequest(NamedTuple):
    """An infer request whose head need not be parsed again while only its body changes."""

    head_bytes: bytes
    size_bytes: int  # of the whole request
    head: RequestHead
    infer: HttpRequest


class _HeadRejected(Exception):
    """Ends the parser's work on a refused head."""


class HttpConnection(AnsweringConnection):
    """Parses requests, reports what it waits for, and ends when it should."""

    _parser: httptools.HttpRequestParser
    _entry: ConnectionEntry | None = None
    _host = b"\0"  # the last valid Host, which need not be checked again
    _url = b""
    _headers: list[tuple[bytes, bytes]]
    _head_begun = False
    _known: KnownRequest | None = None
    _parsed: Exchange | None = None  # the request that ended last
    _parsed_count = 0  # of the requests that ended
    _unparsed_bytes = 0  # that belong neither to a complete head nor to a body

    # The transport's calls ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._parser = self._make_parser()
        self._server.connections.add(self)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        endpoint = self._endpoint
        self._entry = endpoint.connections.add(self, endpoint.name_caller(self._address))
        if self._entry is None:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"connections: {len(endpoint.connections)} have requests under way, which is "
                "the limit; try again",
            )
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._entry is not None:
            self._endpoint.connections.remove(self._entry)
            self._entry = None
        self._stopped = True
        if self._queue:
            self._abandon(self._queue[0])
            self._queue.clear()
        self._arriving = self._parsed = self._known = None
        self.resume_writing()
        del self._parser  # it refers to this object

    def data_received(self, data: bytes) -> None:
        if self._stopped:
            self._discard(len(data))
            return
        known = self._known
        if (
            known is not None
            and len(data) == known.size_bytes
            and not self._queue
            and not self._head_begun
            and self._arriving is None
            and data.startswith(known.head_bytes)
        ):
            self._take_known(known, data)
            return
        was_between = not self._head_begun and self._arriving is None
        parsed_before = self._parsed_count
        self._unparsed_bytes += len(data)
        self._advancing = True
        self._feed(data)
        self._advancing = False
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self._stopped:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"headers: given {self._unparsed_bytes} bytes or more, allowed {MAX_HEAD_BYTES}",
            )
        self._advance()
        exchange, self._parsed = self._parsed, None
        if exchange is not None and was_between and self._parsed_count == parsed_before + 1:
            self._remember(exchange, data)
        self.balance_reading()
        self._count_unread(len(data))

    def eof_received(self) -> bool:
        """Return True while complete requests are still to be answered; never with TLS, where a
        client that sends no more cannot read either.
        """
        if self._dropped_bytes is not None or not self._transport.can_write_eof():
            return False
        if self._arriving is not None:
            if len(self._queue) < 2:
                return False
            self._queue.pop().leave()  # it waits for the one before it and is incomplete
            self._arriving = None
        self._ended = self._stopped = bool(self._queue)
        return self._ended

    # The parser's calls ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._head_begun = True
        self._url = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._stopped:  # behind the last request
            raise _HeadRejected
        self._unparsed_bytes = 0
        headers = self._headers
        header_map = dict(headers)
        parser = self._parser
        head = RequestHead(parser.get_method(), self._url, parser.get_http_version(), headers)
        if (
            parser.should_upgrade()
            or head.version != "1.1"
            or header_map.get(b"host") != self._host
            or len(header_map) != len(headers)
            or len(headers) > MAX_HEADERS
            or not head.target.startswith(b"/")
        ):
            if parser.should_upgrade() and head.method != b"CONNECT":
                return  # it is read again without its offer
            self._check_head(head, header_map)
            head = head._replace(target=read_target(head.target) or b"/")
        self._head_begun = False
        self._headers = []  # for trailers, which are not headers
        keeps = head.version == "1.1" and parser.should_keep_alive()
        exchange = self._arriving = Exchange(self, head, close=not keeps)
        exchange.read_framing(header_map)
        self._queue.append(exchange)

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        exchange = self._arriving
        if exchange is not None:
            exchange.add(body)

    def on_message_complete(self) -> None:
        exchange = self._arriving
        if exchange is None:  # it offers another protocol
            return
        self._arriving = None
        self._steps += 1
        self._parsed_count += 1
        self._parsed = exchange
        exchange.complete = True
        exchange.close = exchange.close or not self._parser.should_keep_alive()  # by a trailer
        if exchange.answered:
            if exchange.close:
                self._close()
        else:
            exchange.wake()

    # Reading --------------------------------------------------------------------------------------

    def _make_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # pipelined behind the last
        return parser

    def _feed(self, data: bytes) -> None:
        """Parse bytes. An offer of another protocol stops the parser; it reads on without it."""
        rest = memoryview(data)
        try:
            while True:
                try:
                    self._parser.feed_data(rest)
                    return
                except httptools.HttpParserUpgrade as offer:
                    rest = rest[offer.args[0] :]
                parser = self._parser
                head = RequestHead(
                    parser.get_method(), self._url, parser.get_http_version(), self._headers
                )
                self._parser = self._make_parser()
                self._parser.feed_data(write_without_offers(head))
        except httptools.HttpParserError as error:
            if not self._stopped:
                self._refuse(HTTPStatus.BAD_REQUEST, f"request: not HTTP/1.1: {error}")

    def _check_head(self, head: RequestHead, header_map: dict[bytes, bytes]) -> None:
        """Refuse an invalid head in its turn, and read nothing after it."""
        fault = find_head_fault(head, header_map)
        if fault is not None:
            self._stopped = self._refused = True
            self._endpoint.count_refused(fault.status, self._address)
            self._queue_refusal(fault.status, fault.sentence)
            raise _HeadRejected
        self._host = header_map.get(b"host", self._host)

    def _take_known(self, known: KnownRequest, data: bytes) -> None:
        """Take a request whose head is the last one's, byte by byte."""
        self._steps += 1
        body = data[len(known.head_bytes) :]
        found = self._endpoint.infer.begin(known.infer, body)
        if isinstance(found, AdmittedRequest | RowRequest):
            self._go_on(self._put_known(known), found, body)
        elif self._write_paused or self._endpoint.draining:
            self._reply(self._put_known(known), found)
        else:
            self._transport.write(write_response(*found))
            self._steps += 1

    def _put_known(self, known: KnownRequest) -> Exchange:
        exchange = Exchange(self, known.head, close=False)
        exchange.infer = known.infer
        exchange.complete = exchange.begun = True
        self._queue.append(exchange)
        return exchange

    def _remember(self, exchange: Exchange, data: bytes) -> None:
        """Remember the head of a request that these bytes were, no more and no less."""
        if exchange.infer is None or self._head_begun or exchange.close or exchange.request_id:
            return
        length = int(exchange.infer.headers[b"content-length"])
        head_bytes = data[: len(data) - length]
        if head_bytes.endswith(b"\r\n\r\n") and len(head_bytes) <= _MAX_KNOWN_BYTES:
            self._known = KnownRequest(head_bytes, len(data), exchange.head, exchange.infer)

    def _discard(self, new_bytes: int) -> None:
        if self._dropped_bytes is not None:
            self._dropped_bytes += new_bytes
            if self._dropped_bytes > MAX_DROPPED_BYTES:
                self._transport.close()

    def _count_unread(self, new_bytes: int) -> None:
        """Count what the connection holds of incomplete and waiting requests."""
        entry, waiting = self._entry, len(self._queue) - 1
        if entry is None or self._stopped:
            return
        unread_bytes = 0
        if waiting > 0:
            self._queued_bytes += new_bytes
            unread_bytes = self._queued_bytes + QUEUED_BYTES * waiting
        else:
            self._queued_bytes = 0
            if self._queue and self._queue[0].held:
                unread_bytes = self._queue[0].buffered_bytes
        if self._head_begun:
            unread_bytes += self._unparsed_bytes or new_bytes
        if unread_bytes or entry.unread_bytes:
            self._endpoint.connections.count_unread(entry, unread_bytes)

    # Waiting and ending ---------------------------------------------------------------------------

    def observe(self) -> tuple[ConnectionState, int]:
        return self._find_state(), self._steps

    def _find_state(self) -> ConnectionState:
        if self._transport.is_closing():
            return ConnectionState.CLOSING
        if self._dropped_bytes is not None:
            return ConnectionState.REFUSED
        if self._write_paused:
            return ConnectionState.WRITING
        if self._queue:
            if self._queue[0].held:
                return ConnectionState.AWAITING_BODY
            return ConnectionState.HALF_CLOSED if self._ended else ConnectionState.ANSWERING
        if self._arriving is not None:
            return ConnectionState.DISCARDING_BODY
        if self._head_begun:
            return ConnectionState.AWAITING_HEAD
        return ConnectionState.IDLE if self._steps else ConnectionState.AWAITING_REQUEST

    def pending_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def is_lost(self) -> bool:
        connected: socket.socket | None = self._transport.get_extra_info("socket")
        if connected is None:
            return False
        return connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE

    def time_out(self, state: ConnectionState, after_s: float) -> None:
        if state is ConnectionState.AWAITING_BODY:
            self._start_task(self._queue[0])  # from now on it has the limits of large bodies
        elif state is ConnectionState.AWAITING_HEAD and self._headers:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"head: incomplete after {after_s:g} s")
            self._close()
        elif state in _WAITS_FOR_CLIENT:
            self._close()
        else:
            self._transport.abort()

    def shed(self) -> None:
        state = self._find_state()
        self._stopped = True
        if state in {ConnectionState.AWAITING_HEAD, ConnectionState.AWAITING_BODY}:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE, "request: refused in favour of others; try again"
            )
        elif state not in {ConnectionState.AWAITING_REQUEST, ConnectionState.IDLE}:
            self._transport.abort()
            return
        self._transport.close()
        # if the client does not read
        self._loop.call_later(SHUTDOWN_GRACE_S, self._transport.abort)

    def forget(self) -> None:
        self._known = None

    def shutdown(self) -> None:
        """Close, after the replies to all requests whose heads have come."""
        # a request may be arriving
        if self._find_state() in {ConnectionState.AWAITING_REQUEST, ConnectionState.AWAITING_HEAD}:
            self._loop.call_later(SHUTDOWN_GRACE_S, self._close_when_answered)
        else:
            self._close_when_answered()

    def _close_when_answered(self) -> None:
        if self._queue:
            self._queue[-1].close = True
        else:
            self._close()
