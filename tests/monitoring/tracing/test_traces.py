"""Notes of a request: bounded, in order, told once."""

import time

from monitoring.tracing.traces import MAX_SPANS, NO_TRACE, SampledTrace


def test_a_trace_is_told_once_with_its_error() -> None:
    told: list[SampledTrace] = []
    trace = SampledTrace(255, None, told.append)
    trace.end("Overloaded")
    trace.end()
    assert told == [trace]
    assert trace.error == "Overloaded"
    assert trace.id == f"{255:032x}"


def test_marks_follow_each_other_and_touch_leaves_a_gap() -> None:
    trace = SampledTrace(1, None, lambda _: None)
    trace.end_span("decode", rows=2)
    trace.end_span("cache")
    before = time.monotonic()
    trace.begin_span()
    trace.end_span("encode")
    decode, memory, encode = trace.spans
    assert (decode.name, decode.began, decode.attributes) == ("decode", trace.began, {"rows": 2})
    assert memory.began == decode.ended
    assert encode.began >= before


def test_nothing_is_noted_before_the_request_came_or_after_it_ended() -> None:
    trace = SampledTrace(1, None, lambda _: None)
    trace.add_span("queue", trace.began - 5.0, trace.began + 1.0)
    trace.end()
    trace.add_span("stage", trace.began, trace.began + 1.0)
    trace.end_span("encode")
    assert [(one.name, one.began) for one in trace.spans] == [("queue", trace.began)]


def test_a_note_begins_behind_the_last_mark_and_not_behind_a_touch() -> None:
    trace = SampledTrace(1, None, lambda _: None)
    trace.end_span("cache")
    trace.begin_span()
    trace.add_span("queue", trace.began, trace.began + 1.0)
    memory, queue = trace.spans
    assert queue.began == memory.ended


def test_notes_are_bounded_and_the_others_counted() -> None:
    trace = SampledTrace(1, None, lambda _: None)
    for _ in range(MAX_SPANS + 3):
        trace.end_span("stage")
    assert (len(trace.spans), trace.dropped) == (MAX_SPANS, 3)


def test_no_trace_takes_the_same_calls() -> None:
    NO_TRACE.describe(route="a")
    NO_TRACE.begin_span()
    NO_TRACE.end_span("decode", rows=1)
    NO_TRACE.add_span("queue", 0.0, 1.0, rows=1)
    NO_TRACE.end("Overloaded")
    assert not NO_TRACE.is_recording
    assert NO_TRACE.id == ""
