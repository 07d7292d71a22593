"""The gate that is chosen keeps the budget and is the most accurate that does."""

from dataclasses import replace

import numpy as np
import pytest

from training.choosing.gating import (
    Answers,
    Gate,
    GatedAnswers,
    choose_gate,
    choose_threshold,
    rank_gate,
    replay_cascade,
    replay_gate,
)

ROWS = 2000
RNG = np.random.default_rng(4)
LABELS = RNG.integers(0, 5, ROWS)


def make_answers(accuracy: float) -> Answers:
    """Right so often, and surer where right."""
    right = RNG.random(ROWS) < accuracy
    scores = np.clip(RNG.normal(np.where(right, 0.85, 0.55), 0.12), 0, 1)
    return Answers(np.where(right, LABELS, (LABELS + 1) % 5), scores)


LIGHT, CONVERTED, FULL = make_answers(0.85), make_answers(0.87), make_answers(0.96)
NETS = GatedAnswers(LIGHT, CONVERTED, RNG.random(ROWS).astype(np.float32), FULL, (1.0, 3.0, 6.0))


def test_each_row_goes_as_far_as_the_gate_says() -> None:
    gate = Gate(0.7, 0.6, 0.9)
    found = replay_gate(NETS, gate)
    stages = np.zeros(3)
    for row in range(ROWS):
        answer = LIGHT.labels[row]
        stages[0] += 1
        if LIGHT.scores[row] < gate.light:
            stages[1] += 1
            answer = CONVERTED.labels[row]
            if (
                CONVERTED.scores[row] < gate.converted
                or answer != LIGHT.labels[row]
                or NETS.distance[row] > gate.max_distance
            ):
                stages[2] += 1
                answer = FULL.labels[row]
        assert found.answers[row] == answer
    assert found.reached == pytest.approx(tuple(stages / ROWS))
    assert found.cost == pytest.approx(float(stages @ NETS.costs) / ROWS)


@pytest.mark.parametrize("budget", [1.2, 2.0, 4.0, 100.0])
def test_the_choice_keeps_the_budget_and_more_budget_never_harms(budget: float) -> None:
    gate = choose_gate(NETS, LABELS, budget)
    found = replay_gate(NETS, gate)
    assert found.cost <= budget
    tighter = choose_gate(NETS, LABELS, budget * 0.9)
    assert rank_gate(NETS, gate, LABELS, budget) >= rank_gate(NETS, tighter, LABELS, budget)
    assert (found.answers == LABELS).mean() >= (LIGHT.labels == LABELS).mean()


def test_where_no_gate_is_cheap_enough_the_cheapest_is_taken() -> None:
    found = replay_gate(NETS, choose_gate(NETS, LABELS, 0.5))
    assert found.reached == (1.0, 0.0, 0.0)


def test_conversions_farther_than_those_that_are_right_may_not_stop() -> None:
    far = replace(NETS, distance=np.where(CONVERTED.labels == LABELS, 0.1, 0.5).astype(np.float32))
    assert choose_gate(far, LABELS, 4.0).max_distance == pytest.approx(0.1)


def test_the_cascade_is_chosen_by_the_same_rule() -> None:
    costs = (1.0, 6.0)
    threshold = choose_threshold([LIGHT, FULL], LABELS, costs, 3.0)
    accuracy, reached = replay_cascade([LIGHT, FULL], LABELS, costs, threshold)
    assert reached[0] + 6 * reached[1] <= 3.0
    assert accuracy > (LIGHT.labels == LABELS).mean() + 0.02
    cheapest = choose_threshold([LIGHT, FULL], LABELS, costs, 0.1)
    assert replay_cascade([LIGHT, FULL], LABELS, costs, cheapest)[1][1] <= 0.01
