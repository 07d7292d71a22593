"""One HTTP connection: what its parser refuses is told like every other error, heads are bounded.

The server's own protocol class answers such requests in plain text and keeps a head of any size.
What a request means is left to `serving.web`; the size of its body to `serving.http_body`.
"""

import sys
from http import HTTPStatus
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http_status import say
from serving.web import KNOWN, HttpDoor, Scope

MAX_HELD_BYTES = 64 * 2**10
MAX_HEAD_BYTES = 64 * 2**10  # also of trailers behind a body; what one read brings may come on top


class HttpConnection(HttpToolsProtocol):
    """Counts the bytes that were neither a whole head nor a piece of a body.

    A small infer request is held back until its body is there: if memory knows the answer, it is
    written at once, without a task; else the request goes its ordinary way from its head on.
    """

    _loose_bytes = 0
    _deaf = False
    _held: list[bytes] | None = None  # the pieces of a body that is held back

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
        if self._may_be_known():
            self._held = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        if self._held is None:
            super().on_body(body)
            return
        self._held.append(body)

    def on_message_complete(self) -> None:
        if self._held is not None and self._answer_known():
            return
        super().on_message_complete()

    @property
    def _door(self) -> HttpDoor:
        door = self.app
        assert isinstance(door, HttpDoor)
        return door

    def _may_be_known(self) -> bool:
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

    def _answer_known(self) -> bool:
        """Whether the request was answered; else it is on its ordinary way now."""
        assert self._held is not None
        pieces = self._held
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        answer, known = self._door.recall(self.url, dict(self.headers), body)
        if answer is None:
            cast(Scope, self.scope)[KNOWN] = known
            self._let_go()
            return False
        self._held = None
        self.transport.write(answer)
        self.on_response_complete()
        return True

    def _let_go(self) -> None:
        pieces, self._held = self._held, None
        super().on_headers_complete()
        for piece in pieces or ():
            super().on_body(piece)

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
        body = say(sentence)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s" % (status, status.phrase.encode(), len(body), body)
        )
        self.transport.close()
