"""Targets are judged from families that count, and from the worst case."""

from collections.abc import Mapping

import pytest

from benchmarks.pyramid_drop.names import (
    BLIND,
    BUDGETS,
    COMMONEST,
    FAMILIES,
    FULL,
    PLAIN,
    PYRAMID,
    RATIOS,
    asked_as,
    prefill,
    setting,
    wide,
)
from benchmarks.pyramid_drop.report import (
    REPORT,
    draw,
    least_lead,
    least_step,
    list_counted,
    mean_below,
    worst_below,
)
from harness.results import Results, Sample

RIGHT = dict.fromkeys(FAMILIES, 60.0)
CASES: dict[str, Mapping[str, float]] = {
    asked_as(PLAIN, FULL): RIGHT,
    BLIND: dict.fromkeys(FAMILIES, 30.0),
    COMMONEST: {**dict.fromkeys(FAMILIES, 20.0), "same": 50.0},
    asked_as(BUDGETS, setting(0.47, PYRAMID)): {
        **{f"below_{one}": 0.0 for one in FAMILIES}, "below_same": 30.0, "below_digits": 7.0,
        "below_count": 1.4,
    },
    asked_as(PLAIN, setting(0.25, PYRAMID)): {**RIGHT, "count": 58.0, "same": 10.0},
    asked_as(PLAIN, setting(0.25, "once, random")): {**RIGHT, "count": 59.0},
    asked_as(PLAIN, setting(0.25, "pyramid, random")): {**RIGHT, "row": 20.0, "count": 57.0},
}  # fmt: skip


def results(measured: Mapping[str, Mapping[str, float]]) -> Results:
    return Results(
        {},
        [
            Sample(case, 0, metric, value)
            for case, numbers in measured.items()
            for metric, value in numbers.items()
        ],
    )


def test_a_family_counts_where_the_picture_is_needed() -> None:
    assert set(FAMILIES) - set(list_counted(results(CASES))) == {"same", "digits"}
    alike = CASES | {BLIND: RIGHT}
    with pytest.raises(KeyError, match="no family counts"):
        list_counted(results(alike))


def test_digits_are_judged_apart() -> None:
    found = results(CASES)
    assert worst_below(BUDGETS, 0.47)(found).tolist() == [1.4]
    assert mean_below(BUDGETS, 0.47)(found).tolist() == [pytest.approx(1.4 / 7)]
    missed = [row.what for row in REPORT.judge(found) if row.met is False]
    assert f"{BUDGETS}, 47%: points below, digits" in missed
    assert f"{BUDGETS}, 47%: points below, worst family that counts" in missed


def test_the_best_comparator_counts_in_every_family() -> None:
    lead = least_lead(PLAIN, 0.25, ("once, random", "pyramid, random"))
    assert lead(results(CASES)).tolist() == [-1.0]


def test_the_rise_is_from_each_average_to_the_next() -> None:
    speeds = {192: 2.0, 128: 3.0, 64: 2.7}
    cases = {wide("wide", f"{one} tokens", 1): {"speedup": speed} for one, speed in speeds.items()}
    assert least_step("wide", 1)(results(cases)).tolist() == [0.9]
    with pytest.raises(KeyError):
        least_step("wide", 2)(results(cases))


def test_the_worse_ratio_decides_about_times() -> None:
    cases = {
        prefill(8, ratio, 1, seen=True): {"reached": reached}
        for ratio, reached in zip(RATIOS, (1.0, 0.9), strict=True)
    }
    judged = [row for row in REPORT.judge(results(cases)) if row.met is not None]
    assert [row.measured for row in judged] == ["0.90"]
    assert judged[0].met is False


def test_what_was_not_measured_is_not_drawn() -> None:
    cases = {prefill(8, 0.5, 1, seen=True): {"speedup": 1.5, "macs_speedup": 1.6}}
    (panel,) = draw(results(cases))
    assert panel.title.startswith("prefill")
    assert len(draw(results(CASES | cases))) == 2
