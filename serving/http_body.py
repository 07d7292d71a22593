"""Reading request bodies within the server's limits, counted while they arrive.

Two limits: what one body may be (413), and what all bodies together may hold until they are
answered (503).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from core.errors import BodyTooLarge, InvalidInput, RouteUnavailable, UnsupportedEncoding

Receive = Callable[[], Awaitable[Mapping[str, Any]]]  # ASGI messages: values of many types
HeaderMap = Mapping[bytes, bytes]
HeaderPairs = Sequence[tuple[bytes, bytes]]  # names in lower case


class ClientGone(Exception):
    """Nobody is left to answer."""


class BodyBudget:
    """Bytes held by requests under way. Who reads a body gives its bytes back when answered."""

    def __init__(self, max_body_bytes: int, max_in_flight_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_in_flight_bytes = max_in_flight_bytes
        self.in_flight_bytes = 0

    async def read(self, headers: HeaderMap, receive: Receive) -> bytes:
        """The whole body, whose length counts as in flight until `give_back`."""
        self.check_headers(headers)
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            self._take(len(body), len(body))
            return body
        return await self._read_chunks(message, receive)

    def try_take(self, body: bytes) -> bool:
        """Count a body that is there already; false when there is no room for it."""
        if self.in_flight_bytes + len(body) > self._max_in_flight_bytes:
            return False
        self.in_flight_bytes += len(body)
        return True

    def give_back(self, body: bytes) -> None:
        self.in_flight_bytes -= len(body)

    async def _read_chunks(self, message: Mapping[str, Any], receive: Receive) -> bytes:
        chunks: list[bytes] = []
        held_bytes = 0
        try:
            while True:
                if message["type"] != "http.request":
                    raise ClientGone
                chunk: bytes = message.get("body", b"")
                self._take(len(chunk), held_bytes + len(chunk))
                held_bytes += len(chunk)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
                message = await receive()
        except BaseException:
            self.in_flight_bytes -= held_bytes
            raise

    def check_headers(self, headers: HeaderMap) -> None:
        """What can be refused before the body is read."""
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.strip().lower() not in {b"identity", b""}:
            raise UnsupportedEncoding(
                f"Content-Encoding: given {encoding[:40].decode('latin-1')!r}, allowed 'identity'"
            )
        coding = headers.get(b"transfer-encoding", b"chunked")
        if coding.strip().lower() != b"chunked":
            raise UnsupportedEncoding(
                f"Transfer-Encoding: given {coding[:40].decode('latin-1')!r}, allowed 'chunked'"
            )
        declared = headers.get(b"content-length")
        if declared is None:
            return
        if not declared.isdigit() or len(declared) > 18:
            raise InvalidInput(
                f"Content-Length: given {declared[:40].decode('latin-1')!r}, allowed a number up to"
                f" {self._max_body_bytes}"
            )
        size_bytes = int(declared)
        self._check(size_bytes, size_bytes)

    def _take(self, new_bytes: int, body_bytes: int) -> None:
        self._check(new_bytes, body_bytes)
        self.in_flight_bytes += new_bytes

    def _check(self, new_bytes: int, body_bytes: int) -> None:
        if body_bytes > self._max_body_bytes:
            raise BodyTooLarge(
                f"body: given {body_bytes} bytes or more, allowed {self._max_body_bytes}"
            )
        if self.in_flight_bytes + new_bytes > self._max_in_flight_bytes:
            raise RouteUnavailable(
                f"body: requests under way hold {self.in_flight_bytes} bytes, allowed"
                f" {self._max_in_flight_bytes} together; try again"
            )
