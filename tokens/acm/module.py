"""The module that replaces a layer: a gate, and the learners of one layer or of several.

Layers that read the same tokens, as the projections to queries, keys and values do, may share a
gate: then one choice, and one sort, serves them all. Choices are returned, never stored.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from tokens.acm.execution import FORMS, Form, sort_rows
from tokens.acm.gate import Choice, Gate
from tokens.acm.learners import Learners


class Acm(nn.Module):
    """Tokens [B, T, D] and budgets [B] in; each layer's output [B, T, E] and the choice out."""

    def __init__(self, gate: Gate, layers: Sequence[Learners]) -> None:
        super().__init__()
        self.gate = gate
        self.layers = nn.ModuleList(layers)

    def forward(
        self, x_BTD: Tensor, beta_B: Tensor, form: Form = "dense"
    ) -> tuple[list[Tensor], Choice]:
        """In training every learner runs, weighed by the choice; in evaluation `form` decides."""
        choice = self.gate.choose(self.gate(x_BTD, beta_B))
        return self.run(x_BTD, choice, form), choice

    def run(self, x_BTD: Tensor, choice: Choice, form: Form = "dense") -> list[Tensor]:
        """The layers' outputs for a choice made elsewhere."""
        x_RD = x_BTD.flatten(0, 1)
        if self.training:
            shares_RN = choice.shares_BTN().flatten(0, 1)
            outputs = [layer.weigh(x_RD, shares_RN) for layer in self.replaced]
        else:
            order = sort_rows(choice.learners_BT.flatten(), self.learners)
            outputs = [FORMS[form](layer, x_RD, order).outputs for layer in self.replaced]
        return [one.view(*x_BTD.shape[:2], -1) for one in outputs]

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
