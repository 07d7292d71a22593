"""Makes OpenTelemetry spans of ended traces and sends them; only this module imports the library.

The event loop puts a trace into a bounded queue and goes on. A separate thread makes spans and
sends them in batches. If the queue is full or the collector does not answer, traces are lost, but
no requests. `traces.py` defines a trace; `sampling.py` selects the requests that have one.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterator

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from core.version import read_version
from monitoring.tracing.traces import Attributes, SampledTrace

MAX_QUEUED = 2048  # traces waiting to be sent; more are dropped
MAX_BATCH_SPANS = 512
EVERY_S = 1.0
CLOSE_S = 3.0  # longest wait for the last spans when the server ends
_REPORT_EVERY_S = 60.0

_SAMPLED_FLAGS = TraceFlags(TraceFlags.SAMPLED)
# without a description: it could repeat data of the request
_STATUS_ERROR = Status(StatusCode.ERROR)
_STATUS_UNSET = Status(StatusCode.UNSET)
_log = logging.getLogger("sparing.tracing")


class SpanSender:
    """Takes ended traces; `close` sends what is left."""

    def __init__(
        self, exporter: SpanExporter, *, max_queued: int = MAX_QUEUED, every_s: float = EVERY_S
    ) -> None:
        self.dropped = 0
        self.failed_batches = 0
        self._exporter = exporter
        self._make = SpanMaker()
        self._max_queued = max_queued
        self._every_s = every_s
        self._queue: deque[SampledTrace] = deque()
        self._awake = threading.Event()
        self._closing = False
        self._reported = 0
        self._report_at = 0.0
        self._thread = threading.Thread(target=self._work, name="spans", daemon=True)
        self._thread.start()

    def take(self, trace: SampledTrace) -> None:
        """Queue a trace without waiting; called on the event loop."""
        waiting = len(self._queue)
        if waiting >= self._max_queued:
            self.dropped += 1
            return
        self._queue.append(trace)
        if waiting >= self._max_queued // 2:
            self._awake.set()

    def close(self) -> None:
        """Send the remaining traces, for at most `CLOSE_S` seconds."""
        self._closing = True
        self._awake.set()
        self._thread.join(CLOSE_S)
        self._exporter.shutdown()

    def _work(self) -> None:
        while not self._closing:
            self._awake.wait(self._every_s)
            self._awake.clear()
            self._send()
            self._report_losses()
        self._send()

    def _send(self) -> None:
        while self._queue:
            spans: list[ReadableSpan] = []
            while self._queue and len(spans) < MAX_BATCH_SPANS:
                spans.extend(self._make.spans_of(self._queue.popleft()))
            try:
                result = self._exporter.export(spans)
            except Exception:  # a failure of tracing must not affect requests
                _log.exception("spans could not be sent")
                result = SpanExportResult.FAILURE
            self.failed_batches += result is not SpanExportResult.SUCCESS

    def _report_losses(self) -> None:
        now = time.monotonic()
        if self.dropped > self._reported and now >= self._report_at:
            _log.warning("%d traces dropped: the queue was full", self.dropped - self._reported)
            self._reported, self._report_at = self.dropped, now + _REPORT_EVERY_S


class SpanMaker:
    """Turns traces into the library's spans: a server span and its children."""

    def __init__(self) -> None:
        own = {"service.name": "sparing", "service.version": read_version()}
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have precedence.
        self._resource = Resource.create(own).merge(OTELResourceDetector().detect())
        self._scope = InstrumentationScope("sparing", read_version())

    def spans_of(self, trace: SampledTrace) -> Iterator[ReadableSpan]:
        """Yield the spans of a trace, the request's span last, as its children end before it."""
        assert trace.ended is not None
        trace_id = trace.trace_id
        caller = None
        if trace.parent is not None:
            caller = SpanContext(trace_id, trace.parent, is_remote=True, trace_flags=_SAMPLED_FLAGS)
        own = _new_context(trace_id)
        own_attributes = dict(trace.attributes)
        if trace.dropped:
            own_attributes["spans_dropped"] = trace.dropped
        shift_ns = time.time_ns() - time.monotonic_ns()
        for note in trace.spans:
            yield self._span(
                note.name,
                _new_context(trace_id),
                own,
                note.began,
                note.ended,
                shift_ns,
                note.attributes,
            )
        yield self._span(
            "request", own, caller, trace.began, trace.ended, shift_ns, own_attributes,
            kind=SpanKind.SERVER, error=trace.error,
        )  # fmt: skip

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        began: float,
        ended: float,
        shift_ns: int,
        own_attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str = "",
    ) -> ReadableSpan:
        attributes = {f"sparing.{key}": value for key, value in own_attributes.items()}
        if error:
            attributes["error.type"] = error
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            kind=kind,
            status=_STATUS_ERROR if error else _STATUS_UNSET,
            start_time=int(began * 1e9) + shift_ns,
            end_time=int(ended * 1e9) + shift_ns,
            instrumentation_scope=self._scope,
        )


def open_sender(endpoint: str) -> SpanSender:
    """Open a sender to a collector, OTLP over HTTP.

    The library reads headers, certificates and compression from its own environment variables.
    """
    return SpanSender(OTLPSpanExporter(endpoint=endpoint))


def _new_context(trace_id: int) -> SpanContext:
    span_id = random.getrandbits(64) or 1
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED_FLAGS)
