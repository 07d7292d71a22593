"""One HTTP connection: small infer requests without a task, bounded heads, errors like all others.

What is held back until its body is there goes to the engine at once, and its answer to the
transport: that spares a request the task, the scope and the messages of ASGI, which cost more than
a small network. Everything else, and whatever is refused, goes its ordinary way from its head on.
What a request means is left to `endpoint`, the size of its body to `body`. Inside another server
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
from serving.http.connections import Place, State
from serving.http.endpoint import KNOWN, HttpDoor, read_address
from serving.http.exchanges import Exit, RefusingConnection, Turn, Work
from serving.http.head import Head, find_fault, read_target, write_without_offers
from serving.http.interfaces import Scope

MAX_HELD_BYTES = 64 * 2**10
MAX_HEAD_BYTES = 64 * 2**10  # also of trailers behind a body; what one read brings may come on top
KEEP_ALIVE_S = 75  # for connections of uvicorn's own kind; ours have `server.idle_timeout_s`
LAST_WORDS_S = 0.2  # that a connection without any request stays open when the server shuts down
QUEUED_BYTES = 2048  # of memory for a request that waits for the one before it, its text aside
_TCP_CLOSE = 7  # the kernel's state of a connection that was reset
DOOR = "sparing.door"  # in the server's lifespan state: whose door, where the application is not it


class HttpConnection(RefusingConnection):
    """Counts the bytes that were neither a whole head nor a piece of a body; says what it waits
    for, and ends when told to.
    """

    _loose_bytes = 0
    _offers_upgrade = False  # a head was read whole that is to be read again without its offer
    _headed: object = None  # the scope of the last head that was read whole
    _host = b"\0"  # that was found right, which need not be looked at again
    _named: Mapping[bytes, bytes]  # the headers of the last head
    _steps = 0  # requests that were read whole, and answers
    _held_bytes = 0
    _queued_bytes = 0  # that came while requests waited for the one before them
    _turn: Turn | None = None  # the held request under way, of which there is one at the most
    _running: RequestResponseCycle | None = None  # the other request that was begun last
    _place: Place | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        door = self.app_state.get(DOOR, self.app)
        assert isinstance(door, HttpDoor)
        self._door = door
        self._exit = Exit(transport, self._hang_up)
        self._place = door.connections.add(self, door.name_caller(read_address(self.client)))
        if self._place is None:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"connections: {len(door.connections)} have requests under way, which is all that"
                " are allowed; try again",
            )
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._place is not None:
            self._door.connections.remove(self._place)
            self._place = None
        turn, self._turn = self._turn, None
        if turn is not None and turn.work is not None:
            self._door.leave(*turn.work)
        self._let_go()
        self._exit.close = self.transport.close  # without a cycle both are freed at once
        running = self._running
        if running is not None and running is not self.cycle and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)
        if self.pipeline:  # nothing of what was never begun waits for a collection
            self.pipeline.clear()
            self.cycle.on_response = self.transport.close

    def eof_received(self) -> bool:  # type: ignore[override]
        """True while the requests that were read whole are still to be answered."""
        if self._dropped_bytes is not None:
            return False
        if self._in_body and self._held is None:
            if not self.pipeline:
                return False
            self.cycle.disconnected = True  # it waits for the one before, and is not there in full
        self._ended = self._deaf = self._is_answering()
        return self._ended

    def shutdown(self) -> None:
        self._let_go()  # a request whose head is there is answered before the connection closes
        if self.observe()[0] in {State.NEW, State.HEAD}:  # a request may be on the way
            self.loop.call_later(LAST_WORDS_S, self._shut)
        else:
            super().shutdown()

    def _shut(self) -> None:
        self._let_go()
        super().shutdown()

    def observe(self) -> tuple[State, int]:
        return self._find_state(), self._steps

    def _find_state(self) -> State:
        if self.transport.is_closing():
            return State.CLOSING
        if self._dropped_bytes is not None:
            return State.REFUSED
        if self.flow.write_paused:
            return State.WRITING
        if self._is_answering():
            return State.HALF_CLOSED if self._ended else State.ANSWER
        if self._held is not None:
            return State.HELD
        if self._in_body:
            return State.REST
        if self.scope is not self._headed:
            return State.HEAD
        return State.IDLE if self._steps else State.NEW

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

    def time_out(self, state: State, after_s: float) -> None:
        if state is State.HELD:
            self._let_go()
        elif state is State.HEAD and self.headers:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"head: not there in full in {after_s:g} s")
            self.transport.close()
        elif state in {State.NEW, State.HEAD, State.IDLE, State.REST, State.REFUSED}:
            self.transport.close()
        else:
            self.transport.abort()

    def give_way(self) -> None:
        state = self._find_state()
        self._deaf = True
        if state in {State.HEAD, State.HELD}:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "request: others need its room; try again")
            self._held = None
        elif state not in {State.NEW, State.IDLE}:
            self.transport.abort()
            return
        self.transport.close()
        self.loop.call_later(LAST_WORDS_S, self.transport.abort)  # where the client does not read

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._drop(len(data))
            return
        self._loose_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data, offer)
        except httptools.HttpParserError as error:
            self._refuse_bytes(error)
        if self._loose_bytes > MAX_HEAD_BYTES and not self._deaf:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"headers: given {self._loose_bytes} bytes or more, allowed {MAX_HEAD_BYTES}",
            )
        place = self._place
        if place is not None and (
            place.unread_bytes
            or self._held is not None
            or self.pipeline
            or self.scope is not self._headed
        ):
            self._count_unread(place, len(data))

    def _count_unread(self, place: Place, new_bytes: int) -> None:
        self._queued_bytes = self._queued_bytes + new_bytes if self.pipeline else 0
        unread_bytes = self._queued_bytes + QUEUED_BYTES * len(self.pipeline)
        if self._held is not None:
            unread_bytes += self._held_bytes
        if self.scope is not self._headed:
            unread_bytes += self._loose_bytes or new_bytes
        if not self.transport.is_closing() and self._dropped_bytes is None:
            self._door.connections.count_unread(place, unread_bytes)

    def _decline(self, data: bytes, offer: httptools.HttpParserUpgrade) -> None:
        """Read on as if no other protocol had been offered: at such a head the parser stops."""
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

    def _read_head(self) -> Head:
        parser = self.parser
        return Head(parser.get_method(), self.url, parser.get_http_version(), self.headers)

    def on_headers_complete(self) -> None:
        self._loose_bytes = 0
        self._headed = self.scope
        named = self._named = dict(self.headers)
        parser = self.parser
        version = parser.get_http_version()
        if (
            parser.should_upgrade()
            or version != "1.1"
            or named.get(b"host") != self._host
            or len(named) != len(self.headers)
            or not self.url.startswith(b"/")
        ) and not self._accept_head():
            return
        self._in_body = True
        if version == "1.1" and self._may_hold():
            self._held = []
            self._held_bytes = 0
        else:
            self._begin_cycle()
            self.headers = []  # for trailers, which are no headers

    def _accept_head(self) -> bool:
        """False where the head is to be read again, without its offer."""
        head = self._read_head()
        if self.parser.should_upgrade() and head.method != b"CONNECT":
            self._offers_upgrade = True
            return False
        fault = find_fault(head, self._named)
        if fault is not None:
            self._refuse_head(fault)
        self._host = self._named.get(b"host", self._host)
        self.url = read_target(head.target) or b"/"
        if head.version == "1.0":
            self.expect_100_continue = False
        return True

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)
            self._held_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._offers_upgrade:
            return
        self._in_body = False
        self._steps += 1
        if self._held is not None and self._take_up():
            return
        super().on_message_complete()
        if not self.parser.should_keep_alive():  # also where only a trailer says so
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()

    def on_response_complete(self) -> None:
        """Begin the next request that waits; without one, the sweep waits for the client."""
        self._steps += 1
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._dropped_bytes is not None:
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            if self._queued_bytes and not self.pipeline and self._place is not None:
                self._count_unread(self._place, 0)
            if not cycle.disconnected:
                self._start_asgi_task(cycle, app)
                return
        if self._ended:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _may_hold(self) -> bool:
        """An infer request with nobody before it on this connection, and nothing special to it."""
        cycle = self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and self.url in self._door.recallable
            and self.parser.get_method() == b"POST"
            and self.parser.should_keep_alive()
            and self._is_short()
            and not self.expect_100_continue
            and not self.flow.write_paused
        )

    def _is_short(self) -> bool:
        """Whether the head declares a body that may be held."""
        length = self._named.get(b"content-length", b"")
        return len(length) < 8 and length.isdigit() and int(length) <= MAX_HELD_BYTES

    def _let_go(self) -> None:
        """Send what is held, and the rest of it, its ordinary way."""
        if self._held is None:
            return
        pieces, self._held = self._held, None
        self._begin_cycle()
        self.headers = []
        for piece in pieces:
            super().on_body(piece)

    def _take_up(self) -> bool:
        """Answer from the cache or begin the call; false when it is on its ordinary way now."""
        assert self._held is not None
        pieces = self._held
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        address = read_address(self.client)
        answer, known = self._door.recall(self.url, self.headers, self._named, body, address)
        if answer is None and known is not None:
            turn = Turn()
            done = partial(self.loop.call_soon, self._finish, turn)
            begun = self._door.begin(known, body, done)
            if isinstance(begun, Call):
                self._held = None
                turn.work = Work(known, body, begun)
                self._turn = turn
                self.cycle = cast(RequestResponseCycle, turn)
                return True
            answer = begun
        if answer is None:
            cast(Scope, self.scope)[KNOWN] = known
            self._let_go()
            return False
        self._held = None
        self.transport.write(answer)
        self.on_response_complete()
        return True

    def _finish(self, turn: Turn) -> None:
        work, turn.work = turn.work, None
        if self._turn is not turn or work is None:  # the client has gone
            return
        self._turn = None
        close = self._door.draining or not turn.keep_alive
        answer = self._door.finish(*work, close=close)
        turn.response_complete = True
        self.transport.write(answer)
        if close:
            self.transport.close()
        self.on_response_complete()
