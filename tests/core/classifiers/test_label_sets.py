"""Probabilities of several labels, the confidence in all of them, and how right they are."""

import numpy as np
import pytest

from core.classifiers.label_sets import (
    fit_label_temperature,
    grade_labels,
    make_joint_score,
    scale_logits,
    sigmoid,
)

RNG = np.random.default_rng(0)


def test_probabilities_are_sigmoids_and_never_overflow() -> None:
    logits = np.array([[-1e4, -2.0, 0.0, 2.0, 1e4]])
    found = sigmoid(scale_logits(logits, 2.0))
    assert found[0, [0, 2, 4]].tolist() == [0.0, 0.5, 1.0]
    assert found[0, 1] == pytest.approx(1 / (1 + np.e))
    assert found[0, 1] + found[0, 3] == pytest.approx(1)


def test_the_joint_score_is_the_product_of_each_labels_confidence() -> None:
    probabilities = np.array([[0.9, 0.2, 0.6], [1.0, 0.0, 1.0], [0.5, 0.5, 0.5]])
    score = make_joint_score(np.asarray(0.5))
    assert score(probabilities) == pytest.approx([0.9 * 0.8 * 0.6, 1.0, 0.125])
    limits = make_joint_score(np.array([0.95, 0.1, 0.5]))
    assert limits(probabilities)[0] == pytest.approx(0.1 * 0.2 * 0.6)


def test_the_joint_score_of_many_labels_stays_within_its_range() -> None:
    probabilities = sigmoid(RNG.normal(0, 9, (50, 2000)))
    scores = make_joint_score(np.asarray(0.5))(probabilities)
    assert (scores >= 0).all() and (scores <= 1).all()
    alone = [make_joint_score(np.asarray(0.5))(row[None])[0] for row in probabilities]
    assert scores.tolist() == alone


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_the_temperature_is_the_factor_by_which_logits_were_inflated(factor: float) -> None:
    log_odds = RNG.normal(0, 2, (4000, 5))
    labels = (RNG.random(log_odds.shape) < sigmoid(log_odds)).astype(np.int64)
    assert fit_label_temperature(log_odds * factor, labels) == pytest.approx(factor, rel=0.05)


def test_a_row_is_graded_by_its_f1() -> None:
    truth = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
    holds = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]) > 0
    assert grade_labels(holds, truth).tolist() == [0.5, 1.0, 1.0, 0.0, 0.0]
