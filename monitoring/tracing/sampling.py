"""Selects the requests to trace: those that their caller samples, and a share of the others.

The caller's decision is in W3C's `traceparent` (https://www.w3.org/TR/trace-context/), a header
over HTTP and metadata over gRPC. A malformed one is ignored. `tracestate` is not read: it matters
only to servers that pass a trace on, and this server calls no others.
"""

import random
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from core import request_id
from monitoring.tracing.traces import NO_TRACE, SampledTrace, Trace

HEADER = "traceparent"
_RAW_HEADER = HEADER.encode()
_READ = frozenset({HEADER, request_id.HEADER})
_SAMPLED = 1  # the only flag that this server uses
# version, trace, the caller's span, flags; later versions may append fields.
_TRACEPARENT = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)
_MAX_HEADER_CHARS = 512

# gRPC's name for headers is metadata.
Metadata = Iterable[tuple[str, str | bytes]]


class ParentSpan(NamedTuple):
    """The caller's span, and whether the caller samples it."""

    trace_id: int
    span_id: int
    sampled: bool


class Tracing(Protocol):
    """Starts the trace of every request, for an endpoint."""

    def start_from_headers(self, headers: Mapping[bytes, bytes], /) -> Trace: ...
    def start_from_metadata(self, read: Callable[[], Metadata], /) -> Trace: ...


class Sampling:
    """Traces requests with a sampled parent, and a share of the requests without a parent."""

    def __init__(self, ratio: float, tell: Callable[[SampledTrace], object]) -> None:
        self._ratio = ratio
        self._tell = tell

    def start_from_headers(self, headers: Mapping[bytes, bytes], /) -> Trace:
        raw = headers.get(_RAW_HEADER)
        trace = self._begin(None if raw is None else raw.decode("latin-1"))
        return _describe_id(trace, headers.get(request_id.RAW_HEADER))

    def start_from_metadata(self, read: Callable[[], Metadata], /) -> Trace:
        given: dict[str, str | bytes] = {}
        for name, value in read():
            if name in _READ:
                given.setdefault(name, value)
        parent = given.get(HEADER)
        trace = self._begin(parent if isinstance(parent, str) else None)
        return _describe_id(trace, given.get(request_id.HEADER))

    def _begin(self, traceparent: str | None) -> Trace:
        parent = None if traceparent is None else read_traceparent(traceparent)
        if parent is None:
            if random.random() >= self._ratio:
                return NO_TRACE
            return SampledTrace(random.getrandbits(128) or 1, None, self._tell)
        if not parent.sampled:
            return NO_TRACE
        return SampledTrace(parent.trace_id, parent.span_id, self._tell)


def _describe_id(trace: Trace, given: str | bytes | None) -> Trace:
    """Return the trace with the id that the client gave its request, if any."""
    if given is not None and trace.is_recording and (text := request_id.read_request_id(given)):
        trace.describe(request_id=text)
    return trace


class _NoTracing:
    """Tracing switched off."""

    def start_from_headers(self, headers: Mapping[bytes, bytes], /) -> Trace:
        return NO_TRACE

    def start_from_metadata(self, read: Callable[[], Metadata], /) -> Trace:
        return NO_TRACE


NO_TRACING: Tracing = _NoTracing()


def read_traceparent(text: str) -> ParentSpan | None:
    """Parse a `traceparent`; None if it is malformed."""
    found = _TRACEPARENT.fullmatch(text.strip(" \t")) if len(text) <= _MAX_HEADER_CHARS else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if trace_id == 0 or span_id == 0:
        return None
    return ParentSpan(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))
