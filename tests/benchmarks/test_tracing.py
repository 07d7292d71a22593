"""Targets of tracing are judged by the samples, and the sink counts."""

import urllib.request

import pytest

from benchmarks.tracing import COMPARED, REPORT
from harness.results import Results, Sample
from harness.services.otlp_sink import OtlpSink


def measured(some: float = 1.02, every_us: float = 100.0, wrong: float = 0.0) -> Results:
    samples = []
    for case in COMPARED:
        for kind, cpu_us in (("off", 100.0), ("0.01", 100 * some), ("1", 100 + every_us)):
            numbers = {"cpu_us": cpu_us, "errors": 0.0, "wrong": wrong}
            samples += [
                Sample(f"{case}-{kind}", run, metric, value)
                for run in range(2)
                for metric, value in numbers.items()
            ]
    return Results({}, samples)


@pytest.mark.parametrize(
    ("change", "missed"),
    [({"some": 1.1}, len(COMPARED)), ({"every_us": 300.0}, len(COMPARED)), ({"wrong": 1.0}, 1)],
)
def test_a_number_past_its_limit_is_a_miss(change: dict[str, float], missed: int) -> None:
    assert all(row.met for row in REPORT.judge(measured()))
    assert sum(not row.met for row in REPORT.judge(measured(**change))) == missed


def test_the_sink_counts_what_it_throws_away() -> None:
    with OtlpSink() as sink:
        for body in (b"one", b"two!"):
            with urllib.request.urlopen(sink.endpoint, body, timeout=10) as answer:
                assert answer.status == 200
        assert (sink.batches, sink.bytes) == (2, 7)
