"""Learners add up: every prefix is an output, and a share weighs a whole learner."""

import pytest
import torch

from tokens.acm.learners import Learners, LearnerSpec

MLP = LearnerSpec(6, 5, 3, 4, gelu=True)
PROJECTION = LearnerSpec(6, 5, 3, 2, gelu=False)
BOTH = pytest.mark.parametrize("spec", [MLP, PROJECTION], ids=["mlp", "projection"])


def make_learners(spec: LearnerSpec) -> Learners:
    torch.manual_seed(0)
    learners = Learners(spec)
    torch.nn.init.normal_(learners.bias)
    return learners


def learner_alone(learners: Learners, x_RD: torch.Tensor, place: int) -> torch.Tensor:
    """The definition, for one learner."""
    width = learners.spec.hidden
    units = slice(place * width, (place + 1) * width)
    hidden = x_RD @ learners.first[units].T + learners.first_bias[units]
    if learners.spec.gelu:
        hidden = torch.nn.functional.gelu(hidden)
    return hidden @ learners.second[units]


@BOTH
def test_a_prefix_is_the_sum_of_its_learners_and_the_bias(spec: LearnerSpec) -> None:
    learners, x_RD = make_learners(spec), torch.randn(7, 6)
    summed = learners.bias.expand(7, -1)
    all_prefixes = list(learners.prefixes(x_RD))
    assert len(all_prefixes) == 4
    for count in range(4):
        if count:
            summed = summed + learner_alone(learners, x_RD, count - 1)
        torch.testing.assert_close(learners.prefix(x_RD, count), summed)
        torch.testing.assert_close(all_prefixes[count], summed)


@BOTH
def test_shares_weigh_each_learner_of_each_row(spec: LearnerSpec) -> None:
    learners, x_RD, shares_RN = make_learners(spec), torch.randn(7, 6), torch.rand(7, 3)
    expected = learners.bias + sum(
        shares_RN[:, place, None] * learner_alone(learners, x_RD, place) for place in range(3)
    )
    torch.testing.assert_close(learners.weigh(x_RD, shares_RN), expected)


def test_every_learner_gets_a_gradient_from_every_prefix_that_has_it() -> None:
    learners = make_learners(MLP)
    *_, second, _ = learners.prefixes(torch.randn(7, 6))
    second.sum().backward()  # type: ignore[no-untyped-call]
    assert learners.second.grad is not None
    by_learner = learners.second.grad.view(3, -1).abs().sum(dim=1)
    assert (by_learner[:2] > 0).all()
    assert by_learner[2] == 0


def test_the_cost_of_a_learner_is_that_of_its_two_layers() -> None:
    assert MLP.macs == 6 * 4 + 4 * 5
