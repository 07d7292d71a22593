"""The access log: one line for each request that an endpoint answers.

Off by default. An endpoint that has no access log does nothing for it. The lines are not limited in
number, as their purpose is to be complete; what is logged without an access log are refusals for a
missing or wrong token, a few lines a minute.
"""

import logging
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar

from core.messages import Reply
from core.request_id import RAW_HEADER, read_request_id
from monitoring.log_limit import UNLIMITED
from monitoring.tracing.sampling import HEADER as PARENT
from monitoring.tracing.sampling import read_traceparent
from monitoring.tracing.traces import Trace

Status = int | str  # of HTTP, or the name of gRPC's

_log = logging.getLogger("sparing.access")


class AccessEntry:
    """A request that is being answered. Its facts are noted as they become known."""

    __slots__ = ("_began", "_clock", "_exits", "_fields", "caller", "route", "status", "trace_id")

    def __init__(self, clock: Callable[[], float], fields: dict[str, object]) -> None:
        self._clock = clock
        self._began = clock()
        self._fields = fields
        self._exits: dict[int, str] = {}  # the newest of each row
        self.route = ""
        self.caller = ""
        self.status: Status = ""
        self.trace_id = ""

    def note_reply(self, reply: Reply, trace: Trace) -> None:
        """Note what answered; once for each reply of a stream."""
        self.route = reply.route
        self.trace_id = self.trace_id or trace.id
        for part in reply.parts:
            for row, at in zip(part.rows, part.at, strict=True):
                self._exits[row] = part.outcomes.exit(at)

    def end(self, status: Status) -> None:
        """Write the line."""
        fields = {
            **self._fields,
            "route": self.route,
            "status": status,
            "ms": round((self._clock() - self._began) * 1e3, 3),
            "exit": ",".join(sorted(set(self._exits.values()))),
            "rows": len(self._exits) or "",
            "caller": self.caller,
            "trace_id": self.trace_id,
        }
        given = {name: value for name, value in fields.items() if value != ""}
        _log.info("request", extra={**UNLIMITED, "fields": given})


# Each request runs in a task of its own. So what answers it can note its facts, without having been
# given the entry, and need not know whether there is an access log.
_current: ContextVar[AccessEntry | None] = ContextVar("access_entry", default=None)


class AccessLog:
    """The access log of a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    def begin(
        self, protocol: str, method: str, path: str = "", *, request_id: str = "", parent: str = ""
    ) -> AccessEntry:
        """Begin the line of the current task's request. `parent` is its `traceparent`."""
        fields: dict[str, object] = {"protocol": protocol, "method": method, "path": path}
        entry = AccessEntry(self._clock, {**fields, "request_id": request_id})
        span = read_traceparent(parent) if parent else None
        if span is not None:
            entry.trace_id = f"{span.trace_id:032x}"
        _current.set(entry)
        return entry

    def begin_http(
        self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]], caller: str
    ) -> AccessEntry:
        """Begin the line of an HTTP request; the names of its headers are in lower case."""
        given = dict(headers)
        entry = self.begin(
            "http",
            method,
            path,
            request_id=read_request_id(given.get(RAW_HEADER)),
            parent=given.get(PARENT.encode(), b"").decode("latin-1"),
        )
        entry.caller = caller
        return entry


def is_logged() -> bool:
    """Return whether the current task's request will be in the access log."""
    return _current.get() is not None


def note_request(route: str = "", caller: str = "") -> None:
    """Note the route and the caller of the current task's request, as far as they are known."""
    entry = _current.get()
    if entry is not None:
        entry.route = route or entry.route
        entry.caller = caller or entry.caller


def note_replies(replies: Iterable[Reply], trace: Trace) -> None:
    """Note what answered the current task's request; the last reply is the newest."""
    entry = _current.get()
    if entry is not None:
        for reply in replies:
            entry.note_reply(reply, trace)


def note_status(status: Status) -> None:
    """Note the status of the current task's request, for `AccessEntry.status`."""
    entry = _current.get()
    if entry is not None:
        entry.status = status


def log_unauthorized(protocol: str, caller: str) -> None:
    """Log that a request was refused for its token; for endpoints without an access log."""
    fields = {"protocol": protocol, "caller": caller}
    extra = {"fields": fields, "about": protocol}
    _log.warning("refused: the token is missing or wrong", extra=extra)
