"""Which requests are followed: those whose caller follows them, and a share of all others.

The caller's word comes in W3C's `traceparent` (https://www.w3.org/TR/trace-context/), over HTTP as
a header and over gRPC as metadata. One that is malformed counts as none. `tracestate` is not read:
it is for whoever passes a trace on, and this server asks nobody.
"""

import random
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from monitoring.tracing.traces import NO_TRACE, SampledTrace, Trace

HEADER = "traceparent"
_RAW_HEADER = HEADER.encode()
_SAMPLED = 1  # the only flag that means something to us
# version, trace, the caller's span, flags; later versions may add fields behind these.
_TRACEPARENT = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)
_MAX_HEADER_CHARS = 512

# What gRPC calls metadata.
Metadata = Iterable[tuple[str, str | bytes]]


class ParentSpan(NamedTuple):
    """The caller's span, and whether he follows it."""

    trace_id: int
    span_id: int
    sampled: bool


class Tracing(Protocol):
    """What a door asks for every request's trace."""

    def start_from_headers(self, headers: Mapping[bytes, bytes], /) -> Trace: ...
    def start_from_metadata(self, read: Callable[[], Metadata], /) -> Trace: ...


class Sampling:
    """Follows what a sampled parent asks for, and this share of the requests without a parent."""

    def __init__(self, ratio: float, tell: Callable[[SampledTrace], object]) -> None:
        self._ratio = ratio
        self._tell = tell

    def start_from_headers(self, headers: Mapping[bytes, bytes], /) -> Trace:
        raw = headers.get(_RAW_HEADER)
        return self._begin(None if raw is None else raw.decode("latin-1"))

    def start_from_metadata(self, read: Callable[[], Metadata], /) -> Trace:
        for name, value in read():
            if name == HEADER:
                return self._begin(value if isinstance(value, str) else None)
        return self._begin(None)

    def _begin(self, traceparent: str | None) -> Trace:
        parent = None if traceparent is None else read_traceparent(traceparent)
        if parent is None:
            if random.random() >= self._ratio:
                return NO_TRACE
            return SampledTrace(random.getrandbits(128) or 1, None, self._tell)
        if not parent.sampled:
            return NO_TRACE
        return SampledTrace(parent.trace_id, parent.span_id, self._tell)


class _NoTracing:
    """Tracing switched off."""

    def start_from_headers(self, headers: Mapping[bytes, bytes], /) -> Trace:
        return NO_TRACE

    def start_from_metadata(self, read: Callable[[], Metadata], /) -> Trace:
        return NO_TRACE


NO_TRACING: Tracing = _NoTracing()


def read_traceparent(text: str) -> ParentSpan | None:
    """None for what is no `traceparent`."""
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
