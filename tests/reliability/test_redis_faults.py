"""The faults of a Redis are caused, counted and judged."""

import numpy as np
import pytest

from harness.live_server import ROOT
from harness.results import Results, Sample
from reliability.redis_faults import FAULTS, judge, measure_faults


@pytest.mark.slow
def test_every_fault_is_caused_counted_and_healed() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    samples = list(measure_faults(ROOT / "models", pictures, runs=1, count=200))
    found = {(sample.case, sample.metric): sample.value for sample in samples}
    for fault in FAULTS:
        assert found[fault, "wrong"] == found[fault, "errors"] == 0
        assert found[fault, "counted"] > 0, fault
        assert found[fault, "requests"] >= 800


def measured(**changes: float) -> Results:
    numbers = {"plain_p99_ms": 15.0, "p99_ms": 20.0, "counted": 9.0, "wrong": 0.0, "errors": 0.0}
    return Results({}, [
        Sample(fault, run, metric, value)
        for fault in FAULTS for run in range(2) for metric, value in (numbers | changes).items()
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"p99_ms": 25.1}, "killed: p99 grows by 10.1 ms"),
        ({"wrong": 1.0}, "killed: wrong: 2"),
        ({"errors": 1.0}, "killed: errors: 2"),
        ({"counted": 0.0}, "killed: no key was counted as an error"),
    ],
)
def test_what_is_wrong_is_a_sentence_for_each_fault(
    change: dict[str, float], sentence: str
) -> None:
    assert judge(measured()) == []
    found = judge(measured(**change))
    assert found[0] == sentence
    assert len(found) == len(FAULTS)
