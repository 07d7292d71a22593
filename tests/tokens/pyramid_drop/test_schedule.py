"""Schedules: the paper's, averages, and what a decoder cannot run."""

import pytest

from tokens.pyramid_drop.schedule import Drop, Schedule, fast_v, for_average, geometric, pyramid


def test_the_papers_schedule_halves_the_tokens_three_times() -> None:
    schedule = pyramid(32, ratio=0.5)
    assert [drop.layer for drop in schedule.drops] == [8, 16, 24]
    counts = schedule.counts(576, 32)
    assert counts == (576,) * 8 + (288,) * 8 + (144,) * 8 + (72,) * 8
    assert schedule.average(576, 32) == 270


def test_counts_are_rounded_down_from_the_original_number() -> None:
    assert geometric([1, 2], 0.5).counts(7, 3) == (7, 3, 1)


def test_a_ratio_of_one_drops_nothing() -> None:
    assert pyramid(8, ratio=1.0).counts(144, 8) == (144,) * 8


def test_an_empty_schedule_reads_everything() -> None:
    assert Schedule().counts(10, 3) == (10, 10, 10)


@pytest.mark.parametrize(("average", "ratio"), [(192, 0.560), (128, 0.420), (64, 0.192)])
def test_the_ratios_of_the_papers_second_table_are_found(average: int, ratio: float) -> None:
    schedule = for_average([2, 8, 16], 32, 576, average)
    assert schedule.drops[0].share == pytest.approx(ratio, abs=5e-4)
    assert schedule.average(576, 32) == pytest.approx(average, abs=1)


@pytest.mark.parametrize("average", [143.9, 577])
def test_an_impossible_average_is_refused(average: float) -> None:
    with pytest.raises(ValueError, match="144 to 576 are possible"):
        for_average([8, 16, 24], 32, 576, average)


@pytest.mark.parametrize(
    ("drops", "message"),
    [
        ((Drop(8, 0.5),), "layer 8 .* must increase, from 1 to 7"),
        ((Drop(0, 0.5),), "layer 0"),
        ((Drop(4, 0.5), Drop(2, 0.2)), "layer 2"),
        ((Drop(2, 0.5), Drop(2, 0.2)), "layer 2"),
        ((Drop(2, 0.5), Drop(4, 0.6)), "share 0.6 before layer 4"),
        ((Drop(2, -0.1),), "share -0.1"),
    ],
)
def test_a_schedule_that_cannot_run_is_refused(drops: tuple[Drop, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(drops).check(8)


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="9 stages"):
        pyramid(8, ratio=0.5, stages=9)


def test_fastv_drops_once() -> None:
    assert fast_v().counts(576, 4) == (576, 576, 288, 288)
