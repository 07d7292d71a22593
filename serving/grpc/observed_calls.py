"""Writes calls to the access log, and returns the ids that clients give them.

It wraps handlers when they are made. Where there is nothing to observe it returns them as they are,
so that a call costs nothing more: reading the metadata alone would take microseconds.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from core.request_id import HEADER, read_request_id
from monitoring.access_log import AccessEntry, AccessLog, log_unauthorized
from monitoring.tracing.sampling import HEADER as PARENT
from serving.callers import Callers
from serving.grpc.peers import read_address

Context = Any  # the library has no types
Answer = TypeVar("Answer")
Call = Callable[[object, Context], Awaitable[Answer]]

_OK, _CANCELLED = "OK", "CANCELLED"


class CallObserver:
    """Observes the calls of one endpoint."""

    def __init__(
        self, access: AccessLog | None, callers: Callers, returns_ids: bool = False
    ) -> None:
        """`returns_ids`: also without an access log."""
        self._access = access
        self._callers = callers
        self._returns_ids = returns_ids or access is not None

    def call(self, name: str, answer: Call[Answer]) -> Call[Answer]:
        """Return a handler that answers as this one and is one request."""
        if not self._returns_ids:
            return answer

        async def call(requests: object, context: Context) -> Answer:
            entry = self._begin(name, context)
            status = _CANCELLED
            try:
                found = await answer(requests, context)
                status = _OK
                return found
            except Exception:
                status = getattr(context.code(), "name", "UNKNOWN")
                raise
            finally:
                if entry is not None:
                    entry.end(status)

        return call

    def stream(
        self, name: str, context: Context, caller: str, replies: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """Return the replies to one request of a stream."""
        return self._stream(name, context, caller, replies) if self._returns_ids else replies

    async def _stream(
        self, name: str, context: Context, caller: str, replies: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        entry = self._begin(name, context)
        if entry is not None:
            entry.caller = caller
        status = _CANCELLED
        try:
            async with aclosing(replies):
                async for reply in replies:
                    yield reply
            status = _OK
        finally:
            if entry is not None:
                entry.end(entry.status or status)

    def refuse(self, name: str, code: Any, sentence: str) -> Call[None]:
        """Return a handler that ends every call with this status before a message is read."""

        async def call(_requests: object, context: Context) -> None:
            await context.abort(code, sentence)

        return self.call(name, call)

    def refuse_token(self, name: str, code: Any, sentence: str) -> Call[None]:
        """Return a handler that refuses a call for its token, which is always logged."""
        refuse = self.refuse(name, code, sentence)
        if self._access is not None:
            return refuse

        async def call(requests: object, context: Context) -> None:
            log_unauthorized("grpc", self._name_caller(context))
            await refuse(requests, context)

        return call

    def _begin(self, name: str, context: Context) -> AccessEntry | None:
        metadata = dict(context.invocation_metadata())
        request_id = read_request_id(metadata.get(HEADER))
        if request_id:
            context.set_trailing_metadata(((HEADER, request_id),))
        if self._access is None:
            return None
        parent = metadata.get(PARENT)
        entry = self._access.begin(
            "grpc",
            name,
            request_id=request_id,
            parent=parent if isinstance(parent, str) else "",
        )
        entry.caller = self._name_caller(context)
        return entry

    def _name_caller(self, context: Context) -> str:
        return self._callers.of_address(read_address(context.peer())).name
