"""What a sampled request did and when, noted in plain Python.

Endpoints, engine and lanes use only this module. `otlp_exporter.py` makes spans of it, and is not
imported while tracing is off. A request that is not sampled has `NO_TRACE`, which takes the same
calls. Notes hold names and numbers of what is served, never what a caller sent.
"""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

MAX_SPANS = 64  # of one request; what comes after is counted

AttributeValue = str | int
Attributes = Mapping[str, AttributeValue]


class TracedSpan(NamedTuple):
    """A piece of work on a request, between two instants of `time.monotonic()`."""

    name: str
    began: float
    ended: float
    attributes: Attributes


class Trace(Protocol):
    """One request, followed from its arrival at a door to its answer."""

    @property
    def is_recording(self) -> bool:
        """Whether anything is noted."""

    @property
    def id(self) -> str:
        """32 hexadecimal digits; empty where nothing is noted."""

    def describe(self, **attributes: AttributeValue) -> None:
        """Facts about the whole request."""

    def begin_span(self) -> None:
        """The piece of work that `end_span` will name begins now."""

    def end_span(self, name: str, **attributes: AttributeValue) -> None:
        """What was done since the last mark or touch has a name."""

    def add_span(self, name: str, began: float, ended: float, **attributes: AttributeValue) -> None:
        """Something was done between two instants, and nothing of it before the last mark."""

    def end(self, error: str = "") -> None:
        """The answer is ready, or the error's class is known; later calls say nothing new."""


class SampledTrace:
    """Given to `tell` once, when it has ended."""

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
        "spans",
        "trace_id",
    )  # fmt: skip
    is_recording = True

    def __init__(
        self, trace_id: int, parent: int | None, tell: "Callable[[SampledTrace], object]"
    ) -> None:
        self.trace_id = trace_id
        self.parent = parent  # the caller's span, where it told us
        self.began = time.monotonic()
        self.ended: float | None = None
        self.error = ""
        self.attributes: dict[str, AttributeValue] = {}
        self.spans: list[TracedSpan] = []
        self.dropped = 0  # notes for which there was no room
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
        if self.ended is not None:  # a batch that was still running when the answer was due
            return
        if len(self.spans) < MAX_SPANS:
            self.spans.append(TracedSpan(name, began, ended, attributes))
        else:
            self.dropped += 1


class _NoTrace:
    """A request that nobody follows."""

    __slots__ = ()
    is_recording = False
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
