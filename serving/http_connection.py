"""One HTTP connection: small infer requests without a task, bounded heads, errors like all others.

What is held back until its body is there goes to the engine at once, and its answer to the
transport: that spares a request the task, the scope and the messages of ASGI, which cost more than
a small network. Everything else, and whatever is refused, goes its ordinary way from its head on.
What a request means is left to `serving.web`; the size of its body to `serving.http_body`. In
another's server the door stands in the lifespan's state (`serving.guest`).
"""

import sys
from functools import partial
from http import HTTPStatus
from typing import cast

from uvicorn._types import ASGI3Application, ASGISendCallable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.calls import Call
from serving.http_paths import Known
from serving.http_status import CLOSE, say, write_response
from serving.oip_http import JSON_TYPE
from serving.web import KNOWN, HttpDoor, Scope, read_address

MAX_HELD_BYTES = 64 * 2**10
MAX_HEAD_BYTES = 64 * 2**10  # also of trailers behind a body; what one read brings may come on top
KEEP_ALIVE_S = 75  # that a connection stays open between requests
LAST_WORDS_S = 0.2  # that a connection without any request stays open when the server shuts down
DOOR = "sparing.door"  # in the server's lifespan state: whose door, where the application is not it


class _Nobody:
    """Whom the server wakes when a client goes away: a turn has its own way of learning it."""

    def set(self) -> None:
        pass


class Turn:
    """A held request that the engine works on; to the server it stands for its own cycle."""

    __slots__ = ("body", "call", "disconnected", "keep_alive", "known", "response_complete")
    more_body = False
    message_event = _Nobody()

    def __init__(self, known: Known, body: bytes) -> None:
        self.known = known
        self.body = body
        self.call: Call | None = None
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False


class HttpConnection(HttpToolsProtocol):
    """Counts the bytes that were neither a whole head nor a piece of a body."""

    _loose_bytes = 0
    _deaf = False
    _held: list[bytes] | None = None  # the pieces of a body that is held back
    _turn: Turn | None = None  # the held request under way, of which there is one at the most

    def connection_lost(self, exc: Exception | None) -> None:
        turn, self._turn = self._turn, None
        if turn is not None and turn.call is not None:
            self._door.leave(turn.known, turn.body, turn.call)
        self._let_go()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self._let_go()  # a request whose head is there is answered before the connection closes
        unused = self.cycle is None
        if unused:  # just accepted, perhaps: its first request may be on the way
            self.loop.call_later(LAST_WORDS_S, super().shutdown)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._loose_bytes += len(data)
        super().data_received(data)
        if self._loose_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"headers: given {self._loose_bytes} bytes or more, allowed {MAX_HEAD_BYTES}",
            )

    def on_headers_complete(self) -> None:
        self._loose_bytes = 0
        self._unset_keepalive_if_required()  # an answer to one packet's first request set it
        if self._may_hold():
            self._held = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        if self._held is not None and self._take_up():
            return
        super().on_message_complete()

    @property
    def _door(self) -> HttpDoor:
        door = self.app_state.get(DOOR, self.app)
        assert isinstance(door, HttpDoor)
        return door

    def _may_hold(self) -> bool:
        """An infer request with nobody before it on this connection, and nothing special to it."""
        cycle = self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and self.url in self._door.recallable
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and self._is_short()
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
            and not self.flow.write_paused
        )

    def _is_short(self) -> bool:
        """Whether the head declares a body that may be held."""
        for name, value in self.headers:
            if name == b"content-length":
                return len(value) < 8 and value.isdigit() and int(value) <= MAX_HELD_BYTES
        return False

    def _let_go(self) -> None:
        """Send what is held, and the rest of it, its ordinary way."""
        if self._held is None:
            return
        pieces, self._held = self._held, None
        super().on_headers_complete()
        for piece in pieces:
            super().on_body(piece)

    def _take_up(self) -> bool:
        """Answer from memory or begin the call; false when it is on its ordinary way now."""
        assert self._held is not None
        pieces = self._held
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        address = read_address(self.client)
        answer, known = self._door.recall(self.url, self.headers, body, address)
        if answer is None and known is not None:
            turn = Turn(known, body)
            done = partial(self.loop.call_soon, self._finish, turn)
            begun = self._door.begin(known, body, done)
            if isinstance(begun, Call):
                self._held = None
                turn.call = begun
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
        if self._turn is not turn or turn.call is None:  # the client has gone
            return
        self._turn = None
        close = self._door.draining or not turn.keep_alive
        answer = self._door.finish(turn.known, turn.body, turn.call, close=close)
        turn.response_complete = True
        self.transport.write(answer)
        if close:
            self.transport.close()
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Called while the parser's error is handled; it says more than the message."""
        reason = sys.exc_info()[1] or msg
        self._refuse(HTTPStatus.BAD_REQUEST, f"request: not HTTP/1.1: {reason}")

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer and close; a whole request that came before is answered instead."""
        self._deaf = True
        cycle = self.cycle
        if cycle is not None and not cycle.more_body and not cycle.response_complete:
            cycle.keep_alive = False
            return
        if self.pipeline:  # a request before it is still to be answered
            self.pipeline[0] = (cycle, _make_refusal(status, sentence))
            return
        self.transport.write(write_response(status, [JSON_TYPE, CLOSE], say(sentence)))
        self.transport.close()


def _make_refusal(status: HTTPStatus, sentence: str) -> ASGI3Application:
    """The same answer for a request that waits for its turn."""
    body = say(sentence)
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body)), CLOSE]

    async def refuse(_scope: object, _receive: object, send: ASGISendCallable) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return refuse
