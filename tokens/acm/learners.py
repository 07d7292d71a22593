"""The learners of one module: small nets whose outputs add up, so that every prefix is an output.

`h(z, k)` is the sum of the first k learners' outputs ("Adaptive Computation Modules", arXiv
2312.10193). A learner is two linear layers, with GELU between them in place of an MLP, and with
nothing between them in place of a projection, as in the released code. As in the paper no learner
has an output bias; the module may have one that every prefix shares, so that all learners together
can repeat the layer that they replace. Who chooses k, and how a choice is executed quickly, is not
known here.

Shapes: R rows (tokens), D inputs, E outputs, N learners, W hidden units of one learner.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class LearnerSpec:
    """The sizes of a module's learners."""

    inputs: int
    outputs: int
    learners: int  # N
    hidden: int  # units of one learner, W
    gelu: bool

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one learner for one token."""
        return (self.inputs + self.outputs) * self.hidden


class Learners(nn.Module):
    """The weights: a learner's block is contiguous, and so are the blocks of every prefix."""

    def __init__(self, spec: LearnerSpec) -> None:
        super().__init__()
        self.spec = spec
        units = spec.learners * spec.hidden
        self.first = nn.Parameter(torch.empty(units, spec.inputs))
        self.first_bias = nn.Parameter(torch.empty(units))
        self.second = nn.Parameter(torch.empty(units, spec.outputs))
        self.bias = nn.Parameter(torch.zeros(spec.outputs))
        bound = 1 / math.sqrt(spec.inputs)
        nn.init.uniform_(self.first, -bound, bound)
        nn.init.uniform_(self.first_bias, -bound, bound)
        nn.init.uniform_(self.second, -1 / math.sqrt(units), 1 / math.sqrt(units))

    def hide(self, x_RD: Tensor, start: int, stop: int) -> Tensor:
        """Hidden units of the learners `start` to `stop`, the last one excluded."""
        width = self.spec.hidden
        units = slice(start * width, stop * width)
        hidden = nn.functional.linear(x_RD, self.first[units], self.first_bias[units])
        return nn.functional.gelu(hidden) if self.spec.gelu else hidden

    def weigh(self, x_RD: Tensor, shares_RN: Tensor) -> Tensor:
        """Every learner's output times its share, added up, and the bias: [R, E].

        All learners run, as training needs; the shares' gradient reaches what chose them.
        """
        spec = self.spec
        hidden = self.hide(x_RD, 0, spec.learners)
        hidden_RNW = hidden.view(len(x_RD), spec.learners, spec.hidden)
        weighed = (hidden_RNW * shares_RN.unsqueeze(-1)).flatten(1)
        return torch.addmm(self.bias, weighed, self.second)

    def prefixes(self, x_RD: Tensor) -> Iterator[Tensor]:
        """h(z, k) for k = 0 to N, each [R, E]: one learner more at a time, which caches like."""
        y_RE = self.bias.expand(len(x_RD), -1)
        yield y_RE
        hidden, width = self.hide(x_RD, 0, self.spec.learners), self.spec.hidden
        for start in range(0, len(self.second), width):
            units = slice(start, start + width)
            y_RE = torch.addmm(y_RE, hidden[:, units], self.second[units])
            yield y_RE

    def prefix(self, x_RD: Tensor, count: int) -> Tensor:
        """h(z, count) for every row, by one pair of products: [R, E]."""
        if count == 0:
            return self.bias.expand(len(x_RD), -1)
        hidden = self.hide(x_RD, 0, count)
        return torch.addmm(self.bias, hidden, self.second[: count * self.spec.hidden])
