"""The gate: for each token, how many learners to run, given the budget.

A net of three small layers with GELU between them; the released code has none there, which makes
its gate linear. The budget β is the share of all learners that the caller pays for. It enters the
hidden layer and the logits, so one set of weights serves every budget.

In training the choice is a Gumbel-softmax sample, one-hot forward and soft backward
(straight-through). In evaluation it is the largest logit.

Shapes: B pictures, T tokens, D width, C choices.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

GATE_WIDTH = 16
TEMPERATURE = 0.8
TERMS = 3  # of a budget: β, β², √β


@dataclass(frozen=True, slots=True)
class Choice:
    """What a gate chose for each token. `one_hot_BTC` has place c for `smallest` + c learners; in
    training its gradient is that of the soft choice."""

    one_hot_BTC: Tensor
    smallest: int

    @property
    def learners_BT(self) -> Tensor:
        """How many learners run, int64."""
        return self.one_hot_BTC.argmax(dim=-1) + self.smallest

    @property
    def executed_BT(self) -> Tensor:
        """The same as float, with the gradient."""
        counts = torch.arange(self.one_hot_BTC.shape[-1], device=self.one_hot_BTC.device)
        return (self.one_hot_BTC * (counts + self.smallest)).sum(dim=-1)

    def shares_BTN(self) -> Tensor:
        """Learner n's share: 1 where at least n learners run. Backward it is the soft sum of all
        choices of n learners or more."""
        at_least = self.one_hot_BTC.flip(-1).cumsum(dim=-1).flip(-1)
        if self.smallest == 0:
            return at_least[..., 1:]
        always = torch.ones_like(at_least[..., :1]).expand(*at_least.shape[:-1], self.smallest - 1)
        return torch.cat([always, at_least], dim=-1)


class Gate(nn.Module):
    """Logits of the choices `smallest` to `learners`; 0 is possible only under a residual."""

    def __init__(self, width: int, learners: int, smallest: int, hidden: int = GATE_WIDTH) -> None:
        super().__init__()
        if not 0 <= smallest <= 1 <= learners:
            raise ValueError(f"choices from {smallest} to {learners} learners; from 0 or 1 on")
        self.smallest = smallest
        choices = learners - smallest + 1
        self.first = nn.Linear(width, hidden)
        self.budget = nn.Linear(TERMS, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, choices)
        self.shift = nn.Linear(TERMS, choices, bias=False)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one token."""
        return _count(self.first, self.second, self.last)

    @property
    def picture_macs(self) -> int:
        """Those of the budget, once a picture."""
        return _count(self.budget, self.shift)

    def forward(self, x_BTD: Tensor, beta_B: Tensor) -> Tensor:
        """Logits [B, T, C] for these tokens and each picture's budget in [0, 1]."""
        terms_B1P = torch.stack([beta_B, beta_B**2, beta_B.sqrt()], dim=-1).unsqueeze(1)
        terms_B1P = terms_B1P.to(x_BTD.dtype)
        hidden = nn.functional.gelu(self.first(x_BTD) + self.budget(terms_B1P))
        hidden = nn.functional.gelu(self.second(hidden))
        logits_BTC: Tensor = self.last(hidden) + self.shift(terms_B1P)
        return logits_BTC

    def choose(self, logits_BTC: Tensor) -> Choice:
        """A random choice in training, the likeliest one in evaluation."""
        if self.training:
            return Choice(sample(logits_BTC, TEMPERATURE), self.smallest)
        best = nn.functional.one_hot(logits_BTC.argmax(dim=-1), logits_BTC.shape[-1])
        return Choice(best.to(logits_BTC.dtype), self.smallest)


def sample(logits: Tensor, temperature: float) -> Tensor:
    """Gumbel-softmax, straight-through: one-hot forward, soft backward (arXiv 1611.01144)."""
    noise = -torch.empty_like(logits).exponential_().log()
    soft = ((logits + noise) / temperature).softmax(dim=-1)
    hard = nn.functional.one_hot(soft.argmax(dim=-1), soft.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())


def _count(*layers: nn.Linear) -> int:
    return sum(layer.in_features * layer.out_features for layer in layers)
