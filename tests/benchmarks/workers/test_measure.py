"""Verdicts on a second worker follow from the samples, and the picture is drawn."""

from pathlib import Path

import pytest

from benchmarks.workers.report import COMPARED, judge_workers, plot_workers
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
    assert all(row.met for row in judge_workers(measured()))
    assert sum(not row.met for row in judge_workers(measured(**change))) == missed


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    plot_workers(measured(), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
