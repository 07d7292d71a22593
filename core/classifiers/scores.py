"""Confidence scores: pure functions from probabilities [N, K] to scores [N] in [0, 1].

A higher score means more confidence. These are the three scores of "Reducing Inference Energy
Consumption Using Dual Complementary CNNs" (arXiv 2412.01039); the paper's entropy is lower for more
confidence, so here it is reversed and divided by ln K. Every function treats each row by itself, in
float64, so that a row's score does not depend on other rows.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Score = Callable[[Floats], Floats]

TEMPERATURE_RANGE = (0.05, 20.0)
GOLDEN = (math.sqrt(5) - 1) / 2


def max_probability(probabilities: Floats) -> Floats:
    """The highest probability."""
    return np.asarray(probabilities.max(axis=1))


def difference(probabilities: Floats) -> Floats:
    """The highest probability minus the second highest."""
    ranked = np.partition(probabilities, -2, axis=1)
    return np.asarray(ranked[:, -1] - ranked[:, -2])


def entropy(probabilities: Floats) -> Floats:
    """1 - H / ln K: 1 for a certain answer, 0 for uniform probabilities."""
    logarithms = np.log(np.where(probabilities > 0, probabilities, 1.0))
    spread = -(probabilities * logarithms).sum(axis=1) / math.log(probabilities.shape[1])
    return np.asarray(np.clip(1.0 - spread, 0.0, 1.0))


SCORES: Mapping[str, Score] = MappingProxyType(
    {"max_probability": max_probability, "difference": difference, "entropy": entropy}
)


def log_softmax(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Logarithms of the calibrated probabilities [N, K]; finite for finite logits."""
    scaled = np.ascontiguousarray(logits, dtype=np.float64)
    scaled = (scaled - scaled.max(axis=1, keepdims=True)) / temperature
    normaliser = np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return np.asarray(scaled - normaliser)


def softmax(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Calibrated probabilities [N, K] from logits [N, K]."""
    scaled = np.ascontiguousarray(logits, dtype=np.float64)
    powers = np.exp((scaled - scaled.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], *, tolerance: float = 1e-4
) -> float:
    """Find the temperature with the lowest negative log-likelihood on held-out rows.

    `logits` are [N, K], `labels` [N].
    """
    rows = np.arange(len(labels))

    def loss(temperature: float) -> float:
        return float(-log_softmax(logits, temperature)[rows, labels].mean())

    return find_temperature(loss, tolerance)


def find_temperature(loss: Callable[[float], float], tolerance: float) -> float:
    """Find the temperature with the lowest loss, by golden-section search over ln T to `tolerance`.

    A likelihood is unimodal in T, so this finds the optimum within `TEMPERATURE_RANGE`.
    """
    low, high = (math.log(edge) for edge in TEMPERATURE_RANGE)
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    loss_left, loss_right = loss(math.exp(left)), loss(math.exp(right))
    while high - low > tolerance:
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - GOLDEN * (high - low)
            loss_left = loss(math.exp(left))
        else:
            low, left, loss_left = left, right, loss_right
            right = low + GOLDEN * (high - low)
            loss_right = loss(math.exp(right))
    return math.exp((low + high) / 2)
