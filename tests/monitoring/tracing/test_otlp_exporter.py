"""Spans of traces, and a sender that loses traces rather than time."""

import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from monitoring.tracing import otlp_exporter as tracing
from monitoring.tracing.otlp_exporter import SpanMaker, SpanSender
from monitoring.tracing.traces import MAX_SPANS, SampledTrace


class Stuck(SpanExporter):
    """Takes one batch and answers when the gate opens."""

    def __init__(self) -> None:
        self.asked, self.gate = threading.Event(), threading.Event()
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.gate.wait(20.0)
        self.spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.gate.set()


class Broken(SpanExporter):
    """Fails, in one way and then in the other."""

    def __init__(self) -> None:
        self.asked = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked += 1
        if self.asked % 2:
            raise ConnectionRefusedError
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        pass


def make_trace(parent: int | None = None, error: str = "", notes: int = 1) -> SampledTrace:
    trace = SampledTrace(7, parent, lambda _: None)
    trace.describe(route="toy", rows=1)
    for _ in range(notes):
        trace.end_span("decode", rows=1)
    trace.end(error)
    return trace


def context_of(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    assert context.trace_flags.sampled
    return context.trace_id, context.span_id


def test_a_trace_is_a_servers_span_with_children_inside() -> None:
    child, root = SpanMaker().spans_of(make_trace(parent=9))
    assert (root.name, root.kind, child.name, child.kind) == (
        "request", SpanKind.SERVER, "decode", SpanKind.INTERNAL,
    )  # fmt: skip
    assert root.parent is not None
    assert child.parent is not None
    assert (root.parent.trace_id, root.parent.span_id, root.parent.is_remote) == (7, 9, True)
    assert (child.parent.trace_id, child.parent.span_id) == context_of(root)
    assert root.attributes == {"sparing.route": "toy", "sparing.rows": 1}
    assert root.start_time is not None
    assert root.end_time is not None
    assert child.start_time is not None
    assert child.end_time is not None
    assert root.start_time <= child.start_time <= child.end_time <= root.end_time
    assert root.status.is_unset
    assert root.resource.attributes["service.name"] == "sparing"


def test_an_error_is_a_class_and_nothing_else() -> None:
    *_, root = SpanMaker().spans_of(make_trace(error="InvalidInput"))
    assert root.parent is None
    assert not root.status.is_ok
    assert not root.status.is_unset
    assert root.status.description is None
    assert root.attributes is not None
    assert root.attributes["error.type"] == "InvalidInput"


def test_notes_without_room_are_counted_on_the_requests_span() -> None:
    *_, root = SpanMaker().spans_of(make_trace(notes=MAX_SPANS + 2))
    assert root.attributes is not None
    assert root.attributes["sparing.spans_dropped"] == 2


def test_the_service_may_be_named_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    *_, root = SpanMaker().spans_of(make_trace())
    assert root.resource.attributes["service.name"] == "pictures"


def test_closing_sends_what_is_left() -> None:
    exporter = InMemorySpanExporter()
    sender = SpanSender(exporter, every_s=60.0)
    for _ in range(3):
        sender.take(make_trace())
    sender.close()
    assert [span.name for span in exporter.get_finished_spans()] == ["decode", "request"] * 3
    assert sender.dropped == 0


def test_a_full_queue_drops_traces_and_keeps_nobody_waiting() -> None:
    exporter = Stuck()
    sender = SpanSender(exporter, max_queued=4, every_s=0.001)
    sender.take(make_trace())
    assert exporter.asked.wait(20.0)
    for _ in range(10):
        sender.take(make_trace())
    assert sender.dropped == 6
    exporter.gate.set()
    sender.close()
    assert len(exporter.spans) == 2 * 5


def test_an_exporter_that_never_answers_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "CLOSE_S", 0.05)
    exporter = Stuck()
    sender = SpanSender(exporter, every_s=0.001)
    sender.take(make_trace())
    assert exporter.asked.wait(20.0)
    sender.close()
    assert exporter.gate.is_set()


def test_an_exporter_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    exporter = Broken()
    sender = SpanSender(exporter, every_s=60.0)
    for _ in range(tracing.MAX_BATCH_SPANS):  # two spans each: two batches
        sender.take(make_trace())
    sender.close()
    assert exporter.asked == sender.failed_batches == 2
    assert "spans could not be sent" in caplog.text
