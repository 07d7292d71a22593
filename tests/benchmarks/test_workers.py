"""Targets of a second worker are judged by the samples."""

import pytest

from benchmarks.workers import COMPARED, REPORT
from harness.results import Results, Sample


def measured(cpu: float = 1.1, speed: float = 1.4, wrong: float = 0.0) -> Results:
    samples = []
    for case in COMPARED:
        for kind, cpu_us, requests_s in (("1", 100.0, 1000.0), ("2", 100 * cpu, 1000 * speed)):
            numbers = {"cpu_us": cpu_us, "requests_s": requests_s, "errors": 0.0, "wrong": wrong}
            samples += [
                Sample(f"{case}-{kind}", run, metric, value)
                for run in range(2)
                for metric, value in numbers.items()
            ]
    return Results({}, samples)


@pytest.mark.parametrize(
    ("change", "missed"), [({"cpu": 1.3}, len(COMPARED)), ({"speed": 1.1}, 1), ({"wrong": 1.0}, 1)]
)
def test_a_number_past_its_limit_is_a_miss(change: dict[str, float], missed: int) -> None:
    assert all(row.met for row in REPORT.judge(measured()))
    assert sum(not row.met for row in REPORT.judge(measured(**change))) == missed
