"""A replay follows the gate, and calibration error is what its definition says."""

import numpy as np
import pytest

from training.choosing.replay import Plan, calibration_error, replay

SURE, UNSURE = [8.0, 0.0], [0.1, 0.0]


def test_only_unsure_rows_reach_the_second_stage() -> None:
    first = np.array([SURE, UNSURE, UNSURE, SURE], np.float32)  # says 0 to all
    second = np.array([SURE[::-1]] * 4, np.float32)  # says 1 to all
    labels = np.array([0, 1, 0, 1])
    found = replay([first, second], labels, Plan((0.5,), (1.0, 1.0), "difference", "last"))
    assert found.answers.tolist() == [0, 1, 1, 0]
    assert found.reached == (1.0, 0.5)
    assert found.mean([10.0, 100.0]) == 60.0
    assert (found.accuracy, found.oracle) == (0.5, 1.0)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    logits = np.tile(np.array([np.log(9.0), 0.0], np.float32), (10, 1))  # 0.9 sure of class 0
    right_in_six = np.array([0] * 6 + [1] * 4)
    assert calibration_error(logits, right_in_six, 1.0) == pytest.approx(0.3, abs=1e-6)
    assert calibration_error(logits, right_in_six, 1e6) == pytest.approx(0.1, abs=1e-3)
