"""Targets of early exits are judged by the samples, and the measurement is right."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.exits import EXITS, NO_REBATCH, REPORT, ROUTE, WHOLE, judge_offline, measure
from benchmarks.serving.cases import LARGE
from harness.results import Results, Sample
from harness.tiny_routes import make_pictures, write_route
from tests.fakes.tiny_kinds import write_exits

MEASURED = {
    WHOLE: {"requests_s": 1000.0, "device_us": 700.0, "p99_ms": 80.0, "macs": 36e6},
    EXITS: {"requests_s": 2000.0, "device_us": 300.0, "p99_ms": 60.0, "macs": 12e6},
    NO_REBATCH: {"requests_s": 1300.0, "device_us": 500.0, "p99_ms": 90.0, "macs": 12e6},
}
OFFLINE = {
    WHOLE: {"accuracy": 0.94, "reached_1": 1.0},
    EXITS: {"accuracy": 0.938, "reached_1": 1.0, "reached_2": 0.4, "reached_3": 0.15},
    NO_REBATCH: {},
}


def measured(changed: Mapping[tuple[str, str], float] | None = None) -> Results:
    changed = changed or {}
    samples = []
    for case, numbers in MEASURED.items():
        load = numbers | {"errors": 0.0, "wrong": 0.0} | OFFLINE[case]
        samples += [
            Sample(case, run, name, changed.get((case, name), value))
            for run in range(2)
            for name, value in load.items()
        ]
    return Results({}, samples)


@pytest.mark.parametrize(
    ("case", "metric", "value"),
    [
        (WHOLE, "device_us", 400.0),
        (EXITS, "requests_s", 1499.0),
        (EXITS, "accuracy", 0.93),
        (EXITS, "p99_ms", 90.0),
        (NO_REBATCH, "wrong", 1.0),
    ],
)
def test_a_number_past_its_limit_is_a_miss(case: str, metric: str, value: float) -> None:
    assert all(row.met for row in REPORT.judge(measured()))
    assert sum(not row.met for row in REPORT.judge(measured({(case, metric): value}))) == 1


def test_both_nets_are_really_served_and_every_answer_is_right(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_route(models, route=LARGE, stages=1)
    write_exits(models, route=ROUTE)
    pictures = make_pictures(60)
    offline = list(judge_offline(models, pictures, np.zeros(60, np.int64)))
    samples = measure(models, pictures, 1, 0.3, tmp_path, Console(file=io.StringIO()))
    results = Results({}, [*offline, *samples])
    assert 0 < results.median(EXITS, "reached_3") < results.median(EXITS, "reached_2") < 1
    for case in (WHOLE, EXITS, NO_REBATCH):
        assert results.median(case, "requests") > 0
        assert results.median(case, "device_us") > 0
        assert results.median(case, "errors") == results.median(case, "wrong") == 0
    REPORT.judge(results)
