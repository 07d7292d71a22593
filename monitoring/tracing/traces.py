"""The trace of a sampled request, recorded in plain Python.

Endpoints, engine and lanes use only this module. `otlp_exporter.py` makes spans of it, and is not
imported while tracing is off. A request that is not sampled has `NO_TRACE`, which has the same
methods. Spans hold names and numbers of the server, never data of the request.
"""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from core.explaining import RowPath

MAX_SPANS = 64  # of one request; further ones are only counted

AttributeValue = str | int
Attributes = Mapping[str, AttributeValue]


class TracedSpan(NamedTuple):
    """A piece of work on a request, between two times of `time.monotonic()`, in seconds."""

    name: str
    began: float
    ended: float
    attributes: Attributes


class Trace(Protocol):
    """The trace of one request, from its arrival at an endpoint to its answer."""

    @property
    def is_recording(self) -> bool:
        """Whether this trace records anything."""

    @property
    def path(self) -> RowPath | None:
        """The path of the request's row, if it is to be explained."""

    @property
    def id(self) -> str:
        """The trace's id, 32 hexadecimal digits; empty if nothing is recorded."""

    def describe(self, **attributes: AttributeValue) -> None:
        """Add attributes of the whole request."""

    def begin_span(self) -> None:
        """Start the piece of work that `end_span` will name."""

    def end_span(self, name: str, **attributes: AttributeValue) -> None:
        """Name the work since the last `end_span` or `begin_span`."""

    def add_span(self, name: str, began: float, ended: float, **attributes: AttributeValue) -> None:
        """Record work between two times, none of it before the last mark."""

    def end(self, error: str = "") -> None:
        """End the trace, with the error's class if there is one; later calls are ignored."""


class SampledTrace:
    """A trace that records. It is passed to `tell` once, when it has ended."""

    __slots__ = (
        "_marked",
        "_since",
        "_tell",
        "attributes",
        "began",
        "dropped",
        "ended",
        "error",
        "parent",
        "path",
        "spans",
        "trace_id",
    )  # fmt: skip
    is_recording = True

    def __init__(
        self, trace_id: int, parent: int | None, tell: "Callable[[SampledTrace], object]"
    ) -> None:
        self.trace_id = trace_id
        self.parent = parent  # the caller's span, if known
        self.began = time.monotonic()
        self.ended: float | None = None
        self.error = ""
        self.attributes: dict[str, AttributeValue] = {}
        self.spans: list[TracedSpan] = []
        self.dropped = 0  # spans over the limit
        self.path: RowPath | None = None
        self._since = self.began
        self._marked = self.began  # the end of the last mark
        self._tell = tell

    @property
    def id(self) -> str:
        return f"{self.trace_id:032x}"

    def describe(self, **attributes: AttributeValue) -> None:
        self.attributes.update(attributes)

    def begin_span(self) -> None:
        self._since = time.monotonic()

    def end_span(self, name: str, **attributes: AttributeValue) -> None:
        now = time.monotonic()
        self._add(name, self._since, now, attributes)
        self._since = self._marked = now

    def add_span(self, name: str, began: float, ended: float, **attributes: AttributeValue) -> None:
        self._add(name, max(began, self._marked), ended, attributes)

    def end(self, error: str = "") -> None:
        if self.ended is None:
            self.ended = time.monotonic()
            self.error = error
            self._tell(self)

    def _add(self, name: str, began: float, ended: float, attributes: Attributes) -> None:
        if self.ended is not None:  # a batch may still run when the request has ended
            return
        if len(self.spans) < MAX_SPANS:
            self.spans.append(TracedSpan(name, began, ended, attributes))
        else:
            self.dropped += 1


class _NoTrace:
    """The trace of a request that is not sampled."""

    __slots__ = ()
    is_recording = False
    path = None
    id = ""

    def describe(self, **attributes: AttributeValue) -> None:
        pass

    def begin_span(self) -> None:
        pass

    def end_span(self, name: str, **attributes: AttributeValue) -> None:
        pass

    def add_span(self, name: str, began: float, ended: float, **attributes: AttributeValue) -> None:
        pass

    def end(self, error: str = "") -> None:
        pass


NO_TRACE: Trace = _NoTrace()


def record_path(trace: Trace) -> tuple[SampledTrace, RowPath]:
    """Return a trace that also records the path of the request's row, and that path. It is the
    given trace if that one records, else one that is not sent anywhere.
    """
    recording = trace if isinstance(trace, SampledTrace) else SampledTrace(0, None, lambda _: None)
    path = recording.path = RowPath(recording.began)
    return recording, path
