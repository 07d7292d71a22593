"""The HTTP endpoint as an ASGI application, for servers of others."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serving.http.body import ClientGone, Receive
from serving.http.disconnects import Disconnects
from serving.http.endpoint import HttpEndpoint
from serving.http.routing import Incoming
from serving.http.status import CLOSE, Stream

# ASGI's messages hold values of many types.
Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiApplication:
    """Passes each request to the endpoint, and its response to the server."""

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self._endpoint = endpoint
        self._disconnects = Disconnects()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _refuse_protocol(scope["type"], receive, send)
            return
        client = scope["client"]
        incoming = Incoming(
            scope["method"],
            scope["path"],
            scope["query_string"],
            scope["headers"],
            client[0] if client else "",
            receive,
        )
        try:
            status, headers, body = await self._endpoint.answer(incoming)
        except ClientGone:
            return
        headers = [*headers]
        if isinstance(body, bytes):
            headers.append((b"content-length", b"%d" % len(body)))
        if self._endpoint.draining and CLOSE not in headers:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if not isinstance(body, bytes):
            try:
                await self._disconnects.wait(_send_pieces(body, send), receive)
            except ClientGone:
                return
            body = b""
        await send({"type": "http.response.body", "body": body})


async def _send_pieces(pieces: Stream, send: Send) -> None:
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
