"""The access log: one line for each request, with the facts that are known."""

import contextvars
import logging

import numpy as np
import pytest

from core.messages import Answer, Outcome
from monitoring.access_log import (
    AccessLog,
    is_logged,
    log_unauthorized,
    note_replies,
    note_request,
    note_status,
)
from monitoring.tracing.traces import NO_TRACE, SampledTrace
from tests.fakes.clock import Clock
from tests.fakes.replies import reply_with

PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"


def answer(exit_name: str) -> Answer:
    outcome = Outcome({"label": np.array(1)}, 0.5, exit_name)
    return Answer(outcome, "last_stage", False, 7, None, 0.002)


def read_fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [record.fields for record in caplog.records]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_line_has_the_facts_of_its_request(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    entry = AccessLog(clock).begin("http", "POST", "/v2", request_id="r1", parent=PARENT)
    note_request("auto:tiny", "shop")
    clock.now_s += 0.0123456
    note_replies([reply_with([answer("light"), answer("large")], "tiny", "1", "d")], NO_TRACE)
    entry.end(200)
    assert read_fields(caplog) == [
        {
            "protocol": "http",
            "method": "POST",
            "path": "/v2",
            "request_id": "r1",
            "route": "tiny",
            "status": 200,
            "ms": 12.346,
            "exit": "large,light",
            "rows": 2,
            "caller": "shop",
            "trace_id": "ab" * 16,
        }
    ]


def test_what_is_not_known_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    AccessLog(Clock()).begin("grpc", "ModelInfer", parent="no traceparent").end("OK")
    assert read_fields(caplog) == [
        {"protocol": "grpc", "method": "ModelInfer", "status": "OK", "ms": 0.0}
    ]


def test_a_sampled_trace_gives_its_id_and_a_later_answer_of_a_row_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entry = AccessLog(Clock()).begin("grpc", "ModelStreamInfer")
    trace = SampledTrace(7, None, lambda _: None)
    replies = [
        reply_with([answer(name)], "tiny", "1", "d", rows=[0]) for name in ("light", "large")
    ]
    note_replies(replies, trace)
    note_status("INTERNAL")
    entry.end(entry.status)
    [fields] = read_fields(caplog)
    assert fields["exit"] == "large"
    assert fields["rows"] == 1
    assert fields["status"] == "INTERNAL"
    assert fields["trace_id"] == f"{7:032x}"


def test_without_an_access_log_nothing_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    def note() -> bool:
        note_request("tiny", "shop")
        note_replies([reply_with([answer("light")])], NO_TRACE)
        note_status("OK")
        return is_logged()

    assert not contextvars.Context().run(note)
    assert caplog.records == []


def test_lines_are_not_limited_and_refusals_for_a_token_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    AccessLog().begin("http", "GET").end(200)
    log_unauthorized("http", "address 10.0.0.7")
    line, refusal = caplog.records
    assert line.limited is False  # type: ignore[attr-defined]
    assert not hasattr(refusal, "limited")
    assert refusal.levelno == logging.WARNING
