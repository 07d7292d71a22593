"""Reads request bodies within the server's limits, which are checked while bytes arrive.

The limits: the size of one body (413); the bytes that all bodies, and those of each caller, may
hold until they are answered (503). How long a body may take, and which one ends in favour of others
(408), is decided in `serving.http.uploads`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from core.errors import (
    BodyTooLarge,
    InvalidInput,
    RequestTimeout,
    RouteUnavailable,
    UnsupportedEncoding,
)
from serving.engine.byte_budget import ByteBudget
from serving.http.uploads import Upload, UploadPace, Uploads

_MAX_CALLER_SHARE = 0.75  # of the limit; the rest is left for others
_MAX_SEARCHES = 16  # in half a second, for bodies to end, for callers with none to end

Receive = Callable[[], Awaitable[Mapping[str, Any]]]  # ASGI messages hold values of many types
HeaderMap = Mapping[bytes, bytes]
HeaderPairs = Sequence[tuple[bytes, bytes]]  # names in lower case


class ClientGone(Exception):
    """The client has disconnected."""


class BodyBudget:
    """Bytes held by requests under way. The code that reads a body gives its bytes back after the
    answer.
    """

    def __init__(
        self,
        max_body_bytes: int,
        max_in_flight_bytes: int,
        pace: UploadPace = UploadPace(),  # noqa: B008
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._held = ByteBudget(
            max_in_flight_bytes, max(max_body_bytes, int(_MAX_CALLER_SHARE * max_in_flight_bytes))
        )
        self._full: set[str] = set()  # callers for which no body to end was found,
        self._full_at_s = 0.0  # at this time of the sweep
        self.uploads = Uploads(pace, draining)

    @property
    def in_flight_bytes(self) -> int:
        return self._held.held_bytes

    async def read(
        self,
        headers: HeaderMap,
        receive: Receive,
        caller: str = "",
        max_bytes: int | None = None,  # a limit below the server's own
    ) -> bytes:
        """Return the whole body; its bytes count as in flight until `give_back`.

        `max_bytes` is the route's limit. Raises RequestTimeout, ClientGone, and the errors of
        `check_headers`.
        """
        self.check_headers(headers, caller, max_bytes)
        upload = self.uploads.begin(caller)
        try:
            return await self._read_chunks(upload, receive, max_bytes)
        except BaseException as error:
            self._release(upload)
            verdict = upload.pop_error() if isinstance(error, asyncio.CancelledError) else None
            if verdict is not None:
                raise verdict from None
            raise
        finally:
            self.uploads.discard(upload)

    def try_take(self, body_bytes: int, caller: str = "") -> bool:
        """Count bodies that have arrived already; return False if they do not fit."""
        return self._held.try_take(body_bytes, caller)

    def give_back(self, body_bytes: int, caller: str = "") -> None:
        """Release the bytes of bodies after their answers."""
        self._held.add(-body_bytes, caller)

    async def _read_chunks(self, upload: Upload, receive: Receive, max_bytes: int | None) -> bytes:
        chunks = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            if chunk:
                self._take(len(chunk), upload, max_bytes)
            if not more:
                if not chunks:
                    return chunk
                chunks += chunk
                return bytes(chunks)
            chunks += chunk

    def _take(self, new_bytes: int, upload: Upload, max_bytes: int | None) -> None:
        self._check_size(upload.held_bytes + new_bytes, max_bytes)
        if self._held.lacks(new_bytes, upload.caller) > 0:
            giving_way = self._find_room(new_bytes, upload.caller, upload)
            if not giving_way:
                raise self._note_full(new_bytes, upload.caller)
            for other in giving_way:
                self._release(other)
                other.end(
                    RequestTimeout("body: arrived too slowly while other requests wait for memory")
                )
        self._held.add(new_bytes, upload.caller)
        self.uploads.add_bytes(upload, new_bytes)

    def _release(self, upload: Upload) -> None:
        self._held.add(-upload.held_bytes, upload.caller)
        upload.held_bytes = 0

    def _find_room(
        self, new_bytes: int, caller: str, upload: Upload | None = None
    ) -> Sequence[Upload]:
        """Return uploads that can be ended for these bytes; empty if they are not enough."""
        now_s = self.uploads.sweep.now_s
        if self._full_at_s != now_s:
            self._full_at_s = now_s
            self._full.clear()
        if caller in self._full or len(self._full) >= _MAX_SEARCHES:
            return ()
        wanted_bytes = self._held.by_caller.get(caller, 0) + new_bytes
        found = self.uploads.choose_victims(
            self._held.lacks(new_bytes, caller),
            self._held.by_caller,
            caller,
            wanted_bytes,
            upload,
            of_caller=wanted_bytes > self._held.of_caller_bytes,
        )
        if not found:
            self._full.add(caller)
        return found

    def _note_full(self, new_bytes: int, caller: str) -> RouteUnavailable:
        return RouteUnavailable(f"body: {self._held.describe_lack(new_bytes, caller)}")

    def check_headers(
        self, headers: HeaderMap, caller: str = "", max_bytes: int | None = None
    ) -> None:
        """Refuse what can be refused before the body is read. Raises a leaf of the error tree."""
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
        self._check_size(int(declared), max_bytes)
        length = int(declared)
        if self._held.lacks(length, caller) > 0 and not self._find_room(length, caller):
            raise self._note_full(length, caller)

    def _check_size(self, body_bytes: int, max_bytes: int | None) -> None:
        if body_bytes > self._max_body_bytes:
            raise BodyTooLarge(
                f"body: given {body_bytes} bytes or more, allowed {self._max_body_bytes}"
            )
        if max_bytes is not None and body_bytes > max_bytes:
            raise BodyTooLarge(
                f"body: given {body_bytes} bytes or more, a request of this route has {max_bytes}"
                " at the most"
            )
