"""Scores: their formulas, range, orientation and independence of batch companions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.classifiers.scores import SCORES, Floats, fit_temperature, log_softmax, softmax

logits_NK = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(2, 12)),
    elements=st.floats(-1e4, 1e4, width=32),
)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("max_probability", 0.7),
        ("difference", 0.5),
        (
            "entropy",
            1 + (0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)) / math.log(3),
        ),
    ],
)
def test_each_score_follows_its_formula(score: str, expected: float) -> None:
    assert SCORES[score](np.array([[0.2, 0.7, 0.1]])) == pytest.approx([expected])


@pytest.mark.parametrize("score", SCORES)
def test_a_certain_answer_scores_one_without_log_of_zero(score: str) -> None:
    assert SCORES[score](np.array([[0.0, 1.0, 0.0]])).tolist() == [1.0]


@pytest.mark.parametrize(
    ("score", "least"), [("max_probability", 0.25), ("difference", 0), ("entropy", 0)]
)
def test_the_uniform_answer_scores_least(score: str, least: float) -> None:
    assert SCORES[score](np.full((1, 4), 0.25)) == pytest.approx([least])


@pytest.mark.parametrize("score", SCORES)
@given(logits=logits_NK)
def test_scores_lie_between_zero_and_one(score: str, logits: Floats) -> None:
    values = SCORES[score](softmax(logits))
    assert values.shape == (len(logits),)
    assert ((values >= 0) & (values <= 1)).all()


@pytest.mark.parametrize("score", SCORES)
@given(logits=logits_NK, temperature=st.floats(0.1, 10))
def test_a_rows_score_is_the_same_bits_alone_and_in_a_batch(
    score: str, logits: Floats, temperature: float
) -> None:
    together = SCORES[score](softmax(logits, temperature))
    alone = [
        SCORES[score](softmax(logits[row : row + 1], temperature)) for row in range(len(logits))
    ]
    assert together.tobytes() == np.concatenate(alone).tobytes()


@given(logits=logits_NK, temperature=st.floats(0.1, 10))
def test_softmax_sums_to_one_and_keeps_the_order(logits: Floats, temperature: float) -> None:
    probabilities = softmax(logits, temperature)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(logits)))
    rows = np.arange(len(logits))
    assert (probabilities[rows, logits.argmax(axis=1)] == probabilities.max(axis=1)).all()
    assert np.isfinite(log_softmax(logits, temperature)).all()


def test_a_higher_temperature_is_less_sure() -> None:
    logits = np.array([[1.0, 3.0, -2.0]])
    for score in SCORES.values():
        assert score(softmax(logits, 2.0))[0] < score(softmax(logits, 1.0))[0]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_fit_temperature_finds_the_factor_by_which_logits_were_inflated(factor: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 5))
    cumulative = softmax(logits).cumsum(axis=1)
    labels = (rng.random(len(logits))[:, None] > cumulative).sum(axis=1).clip(0, 4)
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.05)


def test_fit_temperature_beats_every_other_temperature() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(0, 4, (500, 3)), rng.integers(0, 3, 500)
    logits[np.arange(500), labels] += 2

    def loss(temperature: float) -> float:
        return float(-log_softmax(logits, temperature)[np.arange(500), labels].mean())

    fitted = loss(fit_temperature(logits, labels))
    assert all(fitted <= loss(float(other)) + 1e-7 for other in np.geomspace(0.05, 20, 200))
