"""Verdicts on early exits follow from the samples, and the picture is drawn."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.cases import LARGE
from benchmarks.exits import ROUTE, judge_offline, measure
from benchmarks.exits_report import EXITS, NO_REBATCH, WHOLE, explain_exits, judge_exits, plot_exits
from benchmarks.results import Results, Sample
from tests.fakes.tiny_kinds import write_exits
from tests.fakes.tiny_routes import make_pictures, write_route

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
    assert all(row.met for row in judge_exits(measured()))
    assert sum(not row.met for row in judge_exits(measured({(case, metric): value}))) == 1


def test_the_gain_is_told_apart_from_that_of_batching_again() -> None:
    text = explain_exits(measured())
    assert "60% leave at the first exit and 25% at the second" in text
    assert "33% of the net's MACs" in text
    assert "2.00 times as many requests" in text
    assert "1.30 times with that switched off" in text


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    plot_exits(measured(), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


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
    judge_exits(results)
