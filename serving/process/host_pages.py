"""The pages of a host that embeds the server, on this project's connections.

Requests for this project's paths go to the HTTP endpoint. The host, an ASGI application, answers
all others.
"""

import asyncio
import logging
from typing import Any

from serving.http.asgi import Application, Scope
from serving.http.endpoint import HttpEndpoint
from serving.http.infer.tensor_body import JSON_TYPE
from serving.http.routing import FIXED, Incoming
from serving.http.status import Response, Stream, error_body

_FAMILIES = ("/v1/", "/v2/", "/console/")
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})  # the connection decides these
_log = logging.getLogger("sparing")


def is_ours(path: str) -> bool:
    """Return whether a path belongs to this project, not to the host."""
    return path in FIXED or path.startswith(_FAMILIES)


class HostPages:
    """Answers the requests of a connection from the endpoint or from the host."""

    def __init__(self, app: Application, endpoint: HttpEndpoint) -> None:
        self._app = app
        self._endpoint = endpoint
        self._running: set[asyncio.Task[None]] = set()

    async def answer(self, incoming: Incoming) -> Response:
        """Return the response to a request."""
        if is_ours(incoming.path):
            return await self._endpoint.answer(incoming)
        messages: asyncio.Queue[Scope | None] = asyncio.Queue(1)  # the host waits for the client
        running = asyncio.create_task(self._run(incoming, messages))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        try:
            start = await messages.get()
            first = None if start is None else await messages.get()
        except BaseException:
            running.cancel()
            raise
        if start is None or first is None:
            return 500, [JSON_TYPE], error_body("the host failed; its log has the reason")
        headers = [(name, value) for name, value in start["headers"] if name not in _FRAMING]
        if first.get("more_body", False):
            return start["status"], headers, _read_pieces(first, messages, running)
        return start["status"], headers, bytes(first.get("body", b""))

    async def _run(self, incoming: Incoming, messages: "asyncio.Queue[Scope | None]") -> None:
        try:
            await self._app(_make_scope(incoming), incoming.client.receive, messages.put)
        except Exception:
            _log.exception("the host could not answer %s", incoming.path[:200])
        await messages.put(None)


async def _read_pieces(
    message: Scope | None, messages: "asyncio.Queue[Scope | None]", running: "asyncio.Task[None]"
) -> Stream:
    try:
        while message is not None and message.get("more_body", False):
            yield message.get("body", b"")
            message = await messages.get()
        if message is None:
            raise RuntimeError("the host ended in the middle of a reply")
        yield message.get("body", b"")
    finally:
        running.cancel()


def _make_scope(incoming: Incoming) -> dict[str, Any]:
    """Return a request's ASGI scope."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": incoming.method,
        "scheme": "http",
        "path": incoming.path,
        "raw_path": incoming.path.encode(),
        "query_string": incoming.query,
        "root_path": "",
        "headers": incoming.headers,
        "client": (incoming.address, 0) if incoming.address else None,
        "server": None,
        "state": {},
    }
