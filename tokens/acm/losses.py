"""The three auxiliary losses of end-to-end training (arXiv 2312.10193, equations 8 to 12).

The budget loss keeps the mean cost at β. The entropy loss spreads a picture's tokens over the
choices. The diversity loss spreads pictures over costs: the paper prints it with a plus, which
would reward the opposite, so it is negative here, as in the released code. Where the pictures of a
batch have several budgets, budget and diversity are judged among those of one budget.

Shapes: B pictures, T tokens, C choices, L modules.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tokens.acm.gate import Choice

BUDGET_WEIGHT, ENTROPY_WEIGHT, DIVERSITY_WEIGHT = 0.1, 0.05, 0.05
LEAST_SHARE = 1e-6  # keeps the logarithm of a share finite


def cost_fractions(choices: Sequence[Choice], learner_macs: Sequence[int], learners: int) -> Tensor:
    """Each picture's executed share of the cost of all learners, gates excluded: [B]."""
    spent = torch.zeros(())
    for choice, macs in zip(choices, learner_macs, strict=True):
        spent = spent + choice.executed_BT.mean(dim=1) * macs
    return spent / (learners * sum(learner_macs))


def budget_loss(fractions_B: Tensor, beta_B: Tensor) -> Tensor:
    """|mean cost - β|, averaged over the pictures' budgets."""
    off = []
    for beta in sorted(set(beta_B.tolist())):
        group = fractions_B[beta_B == beta]
        off.append((group.mean() - beta).abs() * len(group))
    return torch.stack(off).sum() / len(beta_B)


def entropy_loss(choices: Sequence[Choice]) -> Tensor:
    """Minus the entropy of a picture's choices over that of an even spread, in [-1, 0]."""
    losses = []
    for choice in choices:
        shares_BC = choice.one_hot_BTC.mean(dim=1)
        even = torch.tensor(float(max(2, shares_BC.shape[-1]))).log()  # one choice has no entropy
        losses.append((shares_BC * (shares_BC + LEAST_SHARE).log()).sum(dim=-1).mean() / even)
    return torch.stack(losses).mean()


def diversity_loss(choices: Sequence[Choice], learners: int, beta_B: Tensor) -> Tensor:
    """Minus the mean difference between two pictures' executed shares of learners."""
    means = torch.stack([choice.executed_BT.mean(dim=1) for choice in choices])
    shares_B = means.mean(dim=0) / learners
    apart_BB = (shares_B.unsqueeze(0) - shares_B.unsqueeze(1)).abs()
    alike_BB = beta_B.unsqueeze(0) == beta_B.unsqueeze(1)
    return -(apart_BB * alike_BB).sum() / alike_BB.sum()
