"""The three losses have the signs that their names promise."""

import pytest
import torch

from tokens.acm.gate import Choice
from tokens.acm.losses import budget_loss, cost_fractions, diversity_loss, entropy_loss

BETA = torch.tensor([0.5, 0.5])


def make_choice(chosen: list[list[int]], smallest: int = 0) -> Choice:
    one_hot = torch.nn.functional.one_hot(torch.tensor(chosen) - smallest, 5 - smallest)
    return Choice(one_hot.float().requires_grad_(), smallest)


def test_a_cost_is_the_executed_share_weighed_by_each_modules_learners() -> None:
    choices = [make_choice([[4, 0], [1, 1]]), make_choice([[1, 1], [3, 1]], smallest=1)]
    fractions = cost_fractions(choices, [30, 10], learners=4)
    expected = torch.tensor([(2 * 30 + 1 * 10) / 160, (1 * 30 + 2 * 10) / 160])
    torch.testing.assert_close(fractions, expected)


def test_the_budget_loss_is_the_distance_of_the_mean() -> None:
    assert budget_loss(torch.tensor([0.2, 0.8]), BETA).item() == 0
    assert budget_loss(torch.tensor([0.2, 0.4]), BETA).item() == pytest.approx(0.2)


def test_pictures_of_each_budget_keep_their_own() -> None:
    fractions, beta = torch.tensor([0.5, 0.5, 0.8]), torch.tensor([0.3, 0.7, 0.7])
    first, others = abs(0.5 - 0.3), abs(0.65 - 0.7)
    assert budget_loss(fractions, beta).item() == pytest.approx((first + 2 * others) / 3)


def test_a_spread_over_all_choices_has_the_lowest_entropy_loss() -> None:
    even = entropy_loss([make_choice([[0, 1, 2, 3, 4]])]).item()
    uneven = entropy_loss([make_choice([[0, 0, 0, 3, 4]])]).item()
    single = entropy_loss([make_choice([[2, 2, 2, 2, 2]])]).item()
    assert even == pytest.approx(-1, abs=1e-4)
    assert single == pytest.approx(0, abs=1e-4)
    assert even < uneven < single


def test_a_gate_with_one_choice_has_no_entropy_to_lose() -> None:
    choice = make_choice([[4, 4, 4]], smallest=4)
    loss = entropy_loss([choice])
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0, abs=1e-4)
    assert choice.one_hot_BTC.grad is not None
    assert choice.one_hot_BTC.grad.isfinite().all()


def test_pictures_of_different_cost_have_the_lower_diversity_loss() -> None:
    alike = diversity_loss([make_choice([[2, 2], [2, 2]])], 4, BETA).item()
    apart = diversity_loss([make_choice([[4, 4], [0, 2]])], 4, BETA).item()
    assert alike == 0
    assert apart == pytest.approx(-(0.75 + 0.75) / 4)  # of four pairs, two with a difference


def test_pictures_of_different_budgets_are_not_compared() -> None:
    choices = [make_choice([[4, 4], [0, 2]])]
    assert diversity_loss(choices, 4, torch.tensor([0.2, 0.8])).item() == 0


def test_each_loss_has_a_gradient_for_the_choices() -> None:
    choice = make_choice([[4, 3, 0], [0, 2, 1]])
    fractions = cost_fractions([choice], [10], 4)
    total = (
        budget_loss(fractions, BETA) + entropy_loss([choice]) + diversity_loss([choice], 4, BETA)
    )
    (gradient,) = torch.autograd.grad(total, choice.one_hot_BTC)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
