"""The gate chooses by token and budget, and the soft choice carries its gradient."""

import pytest
import torch

from tokens.acm.gate import Choice, Gate, sample


def make_gate(smallest: int = 0) -> Gate:
    torch.manual_seed(0)
    return Gate(8, 4, smallest)


@pytest.mark.parametrize("smallest", [0, 1])
def test_choices_go_from_the_smallest_to_all_learners(smallest: int) -> None:
    gate = make_gate(smallest)
    logits = gate(torch.randn(2, 3, 8), torch.tensor([0.2, 0.9]))
    assert logits.shape == (2, 3, 5 - smallest)
    lowest = torch.nn.functional.one_hot(torch.zeros(1, 1, dtype=torch.long), 5 - smallest)
    choice = Choice(lowest.float(), smallest)
    assert choice.learners_BT.tolist() == [[smallest]]
    assert choice.executed_BT.tolist() == [[float(smallest)]]


@pytest.mark.parametrize("smallest", [0, 1])
def test_learner_n_has_the_share_of_all_choices_of_n_or_more(smallest: int) -> None:
    soft = torch.rand(1, 1, 5 - smallest).softmax(dim=-1)
    shares = Choice(soft, smallest).shares_BTN()[0, 0]
    assert shares.shape == (4,)
    for place in range(4):
        expected = soft[0, 0, max(0, place + 1 - smallest) :].sum()
        torch.testing.assert_close(shares[place], expected)


def test_a_sample_is_one_hot_and_has_the_gradient_of_the_soft_choice() -> None:
    logits = torch.randn(50, 5, requires_grad=True)
    weights = torch.randn(50, 5)
    torch.manual_seed(3)
    chosen = sample(logits, 0.8)
    (gradient,) = torch.autograd.grad((chosen * weights).sum(), logits)
    torch.manual_seed(3)
    noise = -torch.empty(50, 5).exponential_().log()
    soft = ((logits + noise) / 0.8).softmax(dim=-1)
    (expected,) = torch.autograd.grad((soft * weights).sum(), logits)
    assert sorted(set(chosen.detach().round(decimals=5).flatten().tolist())) == [0.0, 1.0]
    torch.testing.assert_close(chosen.sum(dim=-1), torch.ones(50))
    assert torch.equal(chosen.argmax(dim=-1), soft.argmax(dim=-1))
    torch.testing.assert_close(gradient, expected)


def test_samples_follow_the_logits() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    shares = sample(logits.expand(20_000, 3), 0.8).mean(dim=0)
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.02, rtol=0)


def test_the_gate_is_not_linear() -> None:
    gate, x = make_gate(), torch.randn(1, 3, 8)
    beta = torch.tensor([0.5])
    middle = (gate(x, beta) + gate(-x, beta)) / 2
    assert not torch.allclose(middle, gate(torch.zeros_like(x), beta), atol=1e-4)


def test_the_budget_changes_the_logits_of_its_own_picture_only() -> None:
    gate, x = make_gate(), torch.randn(2, 3, 8)
    before = gate(x, torch.tensor([0.5, 0.5]))
    after = gate(x, torch.tensor([0.5, 0.9]))
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1])


def test_evaluation_takes_the_likeliest_choice() -> None:
    gate = make_gate().eval()
    choice = gate.choose(torch.tensor([[[0.0, 3.0, 1.0, 0.0, 0.0], [5.0, 3.0, 1.0, 0.0, 9.0]]]))
    assert choice.learners_BT.tolist() == [[1, 4]]


@pytest.mark.parametrize(("learners", "smallest"), [(4, 2), (0, 0), (4, -1)])
def test_other_smallest_choices_are_refused(learners: int, smallest: int) -> None:
    with pytest.raises(ValueError, match="from 0 or 1 on"):
        Gate(8, learners, smallest)
