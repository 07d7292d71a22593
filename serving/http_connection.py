"""One HTTP connection: what its parser refuses is told like every other error, heads are bounded.

The server's own protocol class answers such requests in plain text and keeps a head of any size.
What a request means is left to `serving.web`; the size of its body to `serving.http_body`.
"""

import sys
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http_status import say

MAX_HEAD_BYTES = 64 * 2**10  # also of trailers behind a body; what one read brings may come on top


class HttpConnection(HttpToolsProtocol):
    """Counts the bytes that were neither a whole head nor a piece of a body."""

    _loose_bytes = 0
    _deaf = False

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
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

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
