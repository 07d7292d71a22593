"""Predicted batch times: a line from two runs, corrected by what is seen."""

import pytest

from serving.scheduling.batch_times import BatchTimes


def test_nothing_known_predicts_nothing() -> None:
    assert BatchTimes().predict_s(10) == 0.0


def test_two_runs_give_the_line_between_them() -> None:
    times = BatchTimes()
    times.calibrate(0.002, 0.012, 11)
    assert times.predict_s(1) == pytest.approx(0.002)
    assert times.predict_s(21) == pytest.approx(0.022)


def test_observations_move_the_prediction_to_the_truth() -> None:
    times = BatchTimes()
    times.calibrate(0.001, 0.010, 10)
    for _ in range(100):
        times.observe(10, 0.030)
    assert times.predict_s(10) == pytest.approx(0.030, rel=0.01)


def test_one_outlier_moves_it_little() -> None:
    times = BatchTimes()
    times.calibrate(0.001, 0.010, 10)
    times.observe(10, 5.0)
    assert times.predict_s(10) < 0.025


def test_without_warm_up_the_first_batch_is_believed() -> None:
    times = BatchTimes()
    times.observe(4, 0.008)
    assert times.predict_s(2) == pytest.approx(0.004)


def test_a_slowness_that_is_seen_no_more_is_forgotten() -> None:
    now_s = 0.0
    times = BatchTimes(lambda: now_s)
    times.calibrate(0.001, 0.010, 10)
    for _ in range(100):
        times.observe(10, 0.090)
    now_s = 9.0
    assert times.predict_s(10) == pytest.approx(0.090, rel=0.01)
    now_s = 11.0
    assert times.predict_s(10) == pytest.approx(0.010)
    times.observe(10, 0.010)
    assert times.predict_s(10) == pytest.approx(0.010)


def test_a_speed_above_that_of_the_warm_up_is_kept() -> None:
    now_s = 0.0
    times = BatchTimes(lambda: now_s)
    times.calibrate(0.010, 0.100, 10)
    for _ in range(100):
        times.observe(10, 0.020)
    now_s = 1000.0
    assert times.predict_s(10) == pytest.approx(0.020, rel=0.01)
