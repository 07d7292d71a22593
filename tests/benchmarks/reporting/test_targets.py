"""Targets are judged by the median over runs, and by nothing else."""

import pytest

from benchmarks.reporting.targets import FAULTS, Target, difference, ratio, total, value
from harness.results import Results, Sample

SAMPLES = [
    Sample(case, run, "us", number)
    for case, numbers in {"ours": (30.0, 60.0, 90.0), "bare": (10.0, 20.0, 45.0)}.items()
    for run, number in enumerate(numbers)
]
RESULTS = Results({}, SAMPLES)


@pytest.mark.parametrize(
    ("at_most", "at_least", "limit", "met"),
    [
        (60.0, None, "≤ 60.0 µs", True),
        (59.9, None, "≤ 59.9 µs", False),
        (None, 60.0, "≥ 60.0 µs", True),
        (None, 60.1, "≥ 60.1 µs", False),
    ],
)
def test_the_median_has_to_keep_the_limit(
    at_most: float | None, at_least: float | None, limit: str, met: bool
) -> None:
    target = Target("CPU", value("ours", "us"), at_most, at_least, unit="µs")
    judged = target.judge(RESULTS)
    assert (judged.limit, judged.measured, judged.met) == (limit, "60.0 µs [30.0–90.0]", met)
    assert judged.cells()[-1] == ("met" if met else "**missed**")


def test_two_cases_are_compared_run_by_run() -> None:
    assert ratio("ours", "bare", "us")(RESULTS).tolist() == [3.0, 3.0, 2.0]
    assert difference("ours", "bare", "us", 10)(RESULTS).tolist() == [200.0, 400.0, 450.0]


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    judged = Target("CPU", value("absent", "us"), 1, digits=2).judge(RESULTS)
    assert (judged.measured, judged.met, judged.cells()[-1]) == ("–", None, "not measured")


def test_a_total_is_over_all_cases_and_runs_and_one_fault_is_a_miss() -> None:
    assert total("us")(RESULTS).tolist() == [255.0]
    assert FAULTS.judge(RESULTS).met
    assert FAULTS.judge(Results({}, [*SAMPLES, Sample("bare", 1, "wrong", 1)])).met is False


def test_nothing_is_negative_zero() -> None:
    results = Results({}, [Sample("a", run, "x", number) for run, number in ((0, -0.01), (1, 0.3))])
    assert Target("x", value("a", "x"), 1).judge(results).measured == "0.1 [0.0–0.3]"
