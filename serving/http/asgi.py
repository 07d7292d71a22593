"""The HTTP endpoint as an ASGI application, for servers of others."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import aclosing
from typing import Any

from core.request_id import RAW_HEADER, read_request_id
from serving.http.body import ClientGone, HeaderPairs, Receive
from serving.http.endpoint import HttpEndpoint
from serving.http.infer.tensor_body import Headers
from serving.http.routing import Incoming, Result
from serving.http.status import CLOSE, NOT_MODIFIED, Stream

# ASGI's messages hold values of many types.
Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiClient:
    """The client of one request, as its server describes it."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self._gone = False

    async def attend(self, work: Coroutine[Any, Any, Result]) -> Result:
        task = asyncio.current_task()
        assert task is not None
        watching = asyncio.create_task(self._watch(task))
        try:
            return await work
        except asyncio.CancelledError:
            if self._gone and task.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            watching.cancel()

    async def _watch(self, task: "asyncio.Task[Any]") -> None:
        while (await self.receive())["type"] != "http.disconnect":
            await asyncio.sleep(0)
        self._gone = True
        task.cancel()


class AsgiApplication:
    """Passes each request to the endpoint, and its response to the server."""

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _refuse_protocol(scope["type"], receive, send)
            return
        peer, client = scope["client"], AsgiClient(receive)
        incoming = Incoming(
            scope["method"],
            scope["path"],
            scope["query_string"],
            scope["headers"],
            peer[0] if peer else "",
            client,
        )
        try:
            status, headers, body = await self._endpoint.answer(incoming)
        except ClientGone:
            return
        headers = self._complete(headers, scope["headers"], body)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if not isinstance(body, bytes):
            try:
                await client.attend(_send_pieces(body, send))
            except ClientGone:
                return
            body = b""
        await send({"type": "http.response.body", "body": b"" if status == NOT_MODIFIED else body})

    def _complete(self, headers: Headers, given: HeaderPairs, body: bytes | Stream) -> Headers:
        """Return a response's headers with the request's id, the length and the end."""
        complete = [*headers]
        if request_id := _find_request_id(given):
            complete.append((RAW_HEADER, request_id.encode()))
        if isinstance(body, bytes):
            complete.append((b"content-length", b"%d" % len(body)))
        if self._endpoint.draining and CLOSE not in complete:
            complete.append(CLOSE)
        return complete


def _find_request_id(headers: HeaderPairs) -> str:
    return next((read_request_id(value) for name, value in headers if name == RAW_HEADER), "")


async def _send_pieces(pieces: Stream, send: Send) -> None:
    async with aclosing(pieces):
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _refuse_protocol(kind: str, receive: Receive, send: Send) -> None:
    """Accept the lifespan protocol and do nothing in it; close a websocket."""
    if kind == "websocket":
        await send({"type": "websocket.close"})
        return
    while kind == "lifespan":
        step = (await receive())["type"]
        await send({"type": f"{step}.complete"})
        if step == "lifespan.shutdown":
            return
