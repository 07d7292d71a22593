"""One request on a connection, from its complete head to the end of its reply."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol
from urllib.parse import unquote

from core.request_id import RAW_HEADER, read_request_id
from serving.http.body import ClientGone, HeaderMap
from serving.http.head import RequestHead
from serving.http.infer.gathering import GatheredRow
from serving.http.infer.tensor_body import Headers
from serving.http.interfaces import BegunCall
from serving.http.routing import HttpRequest, Incoming, Result
from serving.http.status import Refusal

MAX_BUFFERED_BYTES = 64 * 2**10  # of a body: a small one is held, of another no more is read


class Connection(Protocol):
    """The part of a connection that its exchanges use."""

    def balance_reading(self) -> None: ...
    def send_continue(self) -> None: ...
    def answer_row(
        self, exchange: "Exchange", message: bytes, headers: Headers, head_bytes: int
    ) -> None: ...
    def refuse_row(self, exchange: "Exchange", response: Refusal) -> None: ...
    def answer_alone(self, exchange: "Exchange", body: bytes) -> None: ...


class Exchange:
    """What a connection knows of one request and its reply."""

    is_short = False  # its body is short enough to be held
    expects = False  # an interim reply before its body
    request_id = ""  # that the client gave, to be returned
    buffered_bytes = 0
    complete = False  # the whole body has arrived
    delivered = False  # the whole body has been read
    begun = False
    held = False  # it waits for its whole body, and then needs no task
    answered = False
    attended = False  # its work is cancelled if the client disconnects
    streams = False  # a part of the reply is sent
    gone = False  # the client does not wait for the reply
    infer: HttpRequest | None = None  # if it needs no task
    call: BegunCall | GatheredRow | None = None
    task: asyncio.Task[None] | None = None
    refusal: Refusal | None = None  # the reply, if the head is wrong
    waiter: asyncio.Future[None] | None = None

    def __init__(self, connection: Connection, head: RequestHead, *, close: bool) -> None:
        self.connection = connection
        self.head = head
        self.close = close  # the connection ends with this reply
        self.pieces: list[bytes] = []  # of the body, not read yet

    def read_framing(self, header_map: HeaderMap) -> None:
        """Note how the head announces its body, and the request's id."""
        given = header_map.get(RAW_HEADER)
        if given is not None:
            self.request_id = read_request_id(given)
        expectation = header_map.get(b"expect", b"").lower()
        self.expects = expectation == b"100-continue" and self.head.version == "1.1"
        length = header_map.get(b"content-length", b"")
        is_short = len(length) < 8 and length.isdigit() and int(length) <= MAX_BUFFERED_BYTES
        self.is_short = is_short and not self.expects

    def describe(self, address: str) -> Incoming:
        """Return the request as the endpoint takes it."""
        path, _, query = self.head.target.partition(b"#")[0].partition(b"?")
        name = path.decode("latin-1")
        return Incoming(
            self.head.method.decode("latin-1"),
            unquote(name) if "%" in name else name,
            query,
            self.head.headers,
            address,
            self,
        )

    def add(self, piece: bytes) -> None:
        """Add a piece of the body."""
        if not self.answered and not self.gone:
            self.pieces.append(piece)
            self.buffered_bytes += len(piece)
            self.wake()

    def take_body(self) -> bytes:
        """Return what has arrived of the body and was not read yet."""
        pieces = self.pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.drop_body()
        return body

    def leave(self) -> None:
        """Note that the client does not wait for the reply any more."""
        self.gone = True
        self.drop_body()
        self.wake()
        if self.task is not None and (self.attended or self.streams):
            self.task.cancel()

    def drop_body(self) -> None:
        self.pieces = []
        self.buffered_bytes = 0

    def answer_row(self, message: bytes, headers: Headers, head_bytes: int) -> None:
        """Answer with a whole message, whose head has so many bytes."""
        self.connection.answer_row(self, message, headers, head_bytes)

    def refuse_row(self, response: Refusal) -> None:
        self.connection.refuse_row(self, response)

    def answer_alone(self, body: bytes) -> None:
        self.connection.answer_alone(self, body)

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def receive(self) -> Mapping[str, Any]:
        """Return the next piece of the body, or the client's disconnect, as ASGI has them."""
        if self.expects and not self.gone:
            self.expects = False
            self.connection.send_continue()
        while not self.gone:
            if self.pieces or (self.complete and not self.delivered):
                self.delivered = self.complete
                message = {
                    "type": "http.request",
                    "body": self.take_body(),
                    "more_body": not self.complete,
                }
                self.connection.balance_reading()
                return message
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return {"type": "http.disconnect"}

    async def attend(self, work: Coroutine[Any, Any, Result]) -> Result:
        self.attended = True
        if self.gone and self.task is not None:
            self.task.cancel()
        try:
            return await work
        except asyncio.CancelledError:
            if self.gone and self.task is not None and self.task.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            self.attended = False
