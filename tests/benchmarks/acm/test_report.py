"""Targets are judged from curves and times."""

from collections.abc import Mapping

import pytest

from benchmarks.acm.names import BATCHES, TIMED_BETAS, fitted, point, timed
from benchmarks.acm.report import REPORTS, least_lead, read_curve
from harness.results import Results, Sample

REPORT = REPORTS["fashion-mnist"]


def results(measured: Mapping[str, Mapping[str, float]]) -> Results:
    return Results(
        {},
        [
            Sample(case, 0, metric, value)
            for case, numbers in measured.items()
            for metric, value in numbers.items()
        ],
    )


CURVES = {
    point("acm", 0.25): {"share": 0.3, "accuracy": 90.0},
    point("acm", 1.0): {"share": 0.8, "accuracy": 92.0},
    point("merging", "4"): {"share": 0.2, "accuracy": 80.0},
    point("merging", "2"): {"share": 0.9, "accuracy": 91.0},
}


def test_the_least_lead_is_where_the_baseline_comes_nearest() -> None:
    merging_at_80 = 80 + 11 * 0.6 / 0.7
    assert least_lead("merging")(results(CURVES)) == pytest.approx(92 - merging_at_80)
    worse = CURVES | {point("acm", 1.0): {"share": 0.8, "accuracy": 89.0}}
    assert least_lead("merging")(results(worse)) == pytest.approx(90 - merging_at_80)
    with pytest.raises(KeyError):
        least_lead("smaller")(results(CURVES))


def test_smaller_nets_end_in_the_dense_one() -> None:
    found = results(
        {
            point("smaller", "small"): {"share": 0.3, "accuracy": 90.0},
            "dense, teacher": {"share": 1.0, "accuracy": 93.0},
        }
    )
    assert read_curve(found, "smaller")[0].tolist() == [0.3, 1.0]


@pytest.mark.parametrize(("rows", "limit"), [(1, 1.05), (16, 0.25), (64, 0.07)])
def test_the_worse_budget_decides_about_times(rows: int, limit: float) -> None:
    ran = 0.5
    edge = limit if rows == 1 else limit + ran
    met = {}
    for ratio in (edge - 0.01, edge + 0.01):
        cases = {
            timed(rows, beta, 1): {"ratio": ratio - 0.2 * (beta == 0.5), "ran_ratio": ran}
            for beta in TIMED_BETAS
        }
        met[ratio] = [row.met for row in REPORT.judge(results(cases)) if row.met is not None]
    assert list(met.values()) == [[True], [False]]
    assert rows in BATCHES


def test_points_below_the_teacher_are_judged_at_a_share_of_its_macs() -> None:
    for lost, met in ((0.5, True), (0.51, False)):
        judged = REPORT.judge(results({fitted(0.5): {"over_teacher": -lost}}))
        assert [row.met for row in judged if row.met is not None] == [met]
