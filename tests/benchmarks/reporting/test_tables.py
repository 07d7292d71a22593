"""Tables show medians, means with intervals and ratios of what was measured."""

import pytest

from benchmarks.reporting.tables import MAX_RUNS, Column, Table, mean_and_margin, plain
from harness.results import Results, Sample

RESULTS = Results({}, [
    Sample(case, run, metric, number)
    for case, metric, numbers in (
        ("lenet", "us", (100.0, 120.0, 110.0)), ("small", "us", (10.0, 11.0, 12.0)),
        ("small", "blur", (0.5, 0.6, 0.7)), ("small", "noise", (0.7, 0.8, 0.9)),
        ("start", "ready_s", (12345.0,)),
    )
    for run, number in enumerate(numbers)
])  # fmt: skip


def test_a_row_for_every_case_with_one_of_the_columns() -> None:
    text = Table(plain({"us": "µs", "ready_s": "s"})).render(RESULTS)
    assert text.splitlines()[2:] == [
        "| case | µs | s |", "| --- | --- | --- |",
        "| lenet | 110 |  |", "| small | 11 |  |", "| start |  | 12,345 |",
    ]  # fmt: skip
    assert Table(plain({"us": "µs"}), cases={"small": "a", "absent": "b"}).render(
        RESULTS
    ).splitlines()[4:] == ["| a | 11 |"]


def test_metrics_of_a_column_are_averaged_in_each_run() -> None:
    both = ("blur", "noise")
    assert Column("", both, 100, 1, "mean").show(RESULTS, "small") == "70.0"
    assert Column("", both, 100, 1, "interval").show(RESULTS, "small") == "70.0 ± 24.8"
    assert Column("", both).show(RESULTS, "lenet") == ""


def test_a_ratio_is_the_other_cases_median_over_its_own() -> None:
    column = Column("", ("us",), digits=1, times_less_than="lenet")
    assert column.show(RESULTS, "small") == "10.0 ×"


def test_the_interval_is_students() -> None:
    mean, margin = mean_and_margin([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert margin == pytest.approx(4.303 / 3**0.5)
    assert mean_and_margin([5.0]) == (5.0, None)
    assert mean_and_margin([1.0] * MAX_RUNS) == (1.0, 0.0)
