"""The module that replaces a layer: a gate, and the learners of one layer or of several.

Layers that read the same tokens, as the projections to queries, keys and values do, may share a
gate: then one choice, and one sort, serves them all. Choices are returned, never stored.

In evaluation on an accelerator, where Triton is installed, the kernels of `tokens/acm/kernels` run
instead of torch's operations, unless a form is asked for.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from tokens.acm.execution import FORMS, Form, sort_rows
from tokens.acm.gate import Choice, Gate
from tokens.acm.learners import Learners

KERNEL_TYPES = (torch.bfloat16, torch.float16, torch.float32)


class Acm(nn.Module):
    """Tokens [B, T, D] and budgets [B] in; each layer's output [B, T, E] and the choice out."""

    def __init__(self, gate: Gate, layers: Sequence[Learners]) -> None:
        super().__init__()
        self.gate = gate
        self.layers = nn.ModuleList(layers)

    def forward(
        self, x_BTD: Tensor, beta_B: Tensor, form: Form | None = None
    ) -> tuple[list[Tensor], Choice]:
        """In training every learner runs, weighed by the choice; in evaluation `form` decides.

        Without a form, kernels run on an accelerator that has them, else every learner.
        """
        alike = x_BTD.dtype == self.gate.first.weight.dtype
        if form is None and not self.training and alike and has_kernels(x_BTD):
            return self._run_kernels(x_BTD, beta_B)
        choice = self.gate.choose(self.gate(x_BTD, beta_B))
        return self.run(x_BTD, choice, form or "dense"), choice

    def run(self, x_BTD: Tensor, choice: Choice, form: Form = "dense") -> list[Tensor]:
        """The layers' outputs for a choice made elsewhere, by torch's operations."""
        x_RD = x_BTD.flatten(0, 1)
        if self.training:
            shares_RN = choice.shares_BTN().flatten(0, 1)
            outputs = [layer.weigh(x_RD, shares_RN) for layer in self.replaced]
        else:
            order = sort_rows(choice.learners_BT.flatten(), self.learners)
            outputs = [FORMS[form](layer, x_RD, order).outputs for layer in self.replaced]
        return [one.view(*x_BTD.shape[:2], -1) for one in outputs]

    @torch.no_grad()
    def _run_kernels(self, x_BTD: Tensor, beta_B: Tensor) -> tuple[list[Tensor], Choice]:
        from tokens.acm.kernels.choosing import choose
        from tokens.acm.kernels.products import run_learners

        x_RD = x_BTD.flatten(0, 1)
        # Triton launches on the current device.
        with torch.cuda.device_of(x_BTD):  # type: ignore[no-untyped-call]
            chosen = choose(self.gate, x_RD, beta_B)
            outputs = [run_learners(layer, x_RD, chosen.order) for layer in self.replaced]
        choice = Choice(chosen.one_hot_RC.view(*x_BTD.shape[:2], -1), self.gate.smallest)
        return [one.view(*x_BTD.shape[:2], -1) for one in outputs], choice

    @property
    def learners(self) -> int:
        """N of each layer."""
        return self.replaced[0].spec.learners

    @property
    def learner_macs(self) -> int:
        """Of one learner of every layer, for one token."""
        return sum(layer.spec.macs for layer in self.replaced)

    @property
    def replaced(self) -> list[Learners]:
        """The learners of each layer that the module replaces."""
        return [layer for layer in self.layers if isinstance(layer, Learners)]


def has_kernels(x: Tensor) -> bool:
    """Whether these tokens can run through the kernels."""
    return x.is_cuda and x.dtype in KERNEL_TYPES and x.numel() > 0 and _finds_triton()


@cache
def _finds_triton() -> bool:
    return find_spec("triton") is not None
