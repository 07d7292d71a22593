"""Several labels at once: the calibrated probability of each, and the confidence in all of them.

Pure functions of logits and probabilities [N, K]. Every function treats each row by itself, in
float64, so that a row's score does not depend on other rows.
"""

import numpy as np
import numpy.typing as npt

from core.classifiers.scores import Floats, Score, find_temperature

LABEL_THRESHOLD = 0.5  # by default, a label with this probability holds


def scale_logits(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Return the calibrated log-odds of every label [N, K]."""
    return np.ascontiguousarray(logits, dtype=np.float64) / temperature


def sigmoid(log_odds: Floats) -> Floats:
    """Return the probabilities of log-odds, without overflow."""
    small = np.exp(-np.abs(log_odds))
    return np.asarray(np.where(log_odds >= 0, 1.0, small) / (1.0 + small))


def make_joint_score(label_thresholds: npt.NDArray[np.float64]) -> Score:
    """Return the score of a whole answer: the probability that every one of its labels is right.

    That is the product of p for each label that holds and of 1 - p for each other one, if labels
    are independent given the input. Then deciding label by label also gives the most probable set
    of labels, so its probability is to several labels what the highest probability is to one
    (Dembczyński, Waegeman, Cheng, Hüllermeier, "On Label Dependence and Loss Minimization in
    Multi-Label Classification", Machine Learning 88, 2012). The smallest distance of a label from
    its threshold would not do: it does not tell one doubtful label from many.
    """

    def score(probabilities: Floats) -> Floats:
        holds = probabilities >= label_thresholds
        right = np.where(holds, probabilities, 1.0 - probabilities)
        return np.asarray(np.exp(np.log(right).sum(axis=1)))

    return score


def fit_label_temperature(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], *, tolerance: float = 1e-4
) -> float:
    """Find the temperature with the lowest negative log-likelihood of all labels.

    `logits` are [N, K], `labels` [N, K] of 0 and 1.
    """
    wrong_way = np.ascontiguousarray(np.where(labels > 0, -1.0, 1.0) * logits, dtype=np.float64)

    def loss(temperature: float) -> float:
        return float(np.logaddexp(0.0, wrong_way / temperature).mean())

    return find_temperature(loss, tolerance)


def grade_labels(
    holds: npt.NDArray[np.bool_], labels: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    """Return the F1 of each row [N], 0 to 1: 1 where neither the answer nor the truth has a label.

    A macro F1 has no value for a row, so two of them cannot be compared in pairs; the share of
    right labels hides what is missed where most labels do not hold.
    """
    truth = labels > 0
    both = (holds & truth).sum(axis=1)
    total = holds.sum(axis=1) + truth.sum(axis=1)
    return np.asarray(np.where(total == 0, 1.0, 2.0 * both / np.maximum(total, 1)))
