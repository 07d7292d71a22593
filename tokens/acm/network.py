"""A vision transformer whose layers run a chosen number of learners for each token.

Stem, norms, attention's products and head are those of the dense net. The MLP and the projections
to queries, keys, values and output are modules with a gate. The MLP may be skipped, for it stands
under a residual; a projection runs one learner at least, as in the released code. Choices are
returned beside the logits.
"""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from tokens.acm.execution import Form
from tokens.acm.gate import GATE_WIDTH, Choice, Gate
from tokens.acm.learners import Learners, LearnerSpec
from tokens.acm.macs import ModuleCost, NetCost, replaced_rank, replaced_width
from tokens.acm.module import Acm
from tokens.vision_transformer import Attention, VisionTransformer, VitSpec, attend


@dataclass(frozen=True, slots=True)
class AcmSettings:
    """What is replaced by learners, and by how many."""

    learners: int = 4
    projections: bool = True  # else attention stays dense
    shared_gate: bool = False  # one choice for queries, keys and values
    gate_width: int = GATE_WIDTH


class AcmAttention(nn.Module):
    """Attention whose four projections are modules; queries, keys and values may share a gate."""

    def __init__(self, spec: VitSpec, settings: AcmSettings) -> None:
        super().__init__()
        self.heads = spec.heads
        groups = (3,) if settings.shared_gate else (1, 1, 1)
        self.inputs = nn.ModuleList(_project(spec, settings, layers) for layers in groups)
        self.output = _project(spec, settings, 1)

    def forward(
        self, x_BTD: Tensor, beta_B: Tensor, form: Form | None
    ) -> tuple[Tensor, list[Choice]]:
        projected: list[Tensor] = []
        choices: list[Choice] = []
        for module in self.inputs:
            outputs, choice = module(x_BTD, beta_B, form)
            projected += outputs
            choices.append(choice)
        q_BTD, k_BTD, v_BTD = projected
        (y_BTD,), choice = self.output(attend(q_BTD, k_BTD, v_BTD, self.heads), beta_B, form)
        return y_BTD, [*choices, choice]

    def modules_in_order(self) -> list[Acm]:
        return [one for one in (*self.inputs, self.output) if isinstance(one, Acm)]


class AcmBlock(nn.Module):
    """One layer; tokens and budgets in, tokens and the layer's choices out."""

    def __init__(self, spec: VitSpec, settings: AcmSettings) -> None:
        super().__init__()
        self.attention_norm = spec.make_norm()
        self.attention = (
            AcmAttention(spec, settings)
            if settings.projections
            else Attention(spec.width, spec.heads)
        )
        self.mlp_norm = spec.make_norm()
        hidden = replaced_width(spec.hidden, settings.learners)
        learners = LearnerSpec(spec.width, spec.width, settings.learners, hidden, gelu=True)
        gate = Gate(spec.width, settings.learners, 0, settings.gate_width)
        self.mlp = Acm(gate, [Learners(learners)])

    def forward(
        self, x_BTD: Tensor, beta_B: Tensor, form: Form | None
    ) -> tuple[Tensor, list[Choice]]:
        z_BTD = self.attention_norm(x_BTD)
        choices: list[Choice] = []
        if isinstance(self.attention, AcmAttention):
            y_BTD, choices = self.attention(z_BTD, beta_B, form)
        else:
            y_BTD = self.attention(z_BTD)
        x_BTD = x_BTD + y_BTD
        (y_BTD,), choice = self.mlp(self.mlp_norm(x_BTD), beta_B, form)
        return x_BTD + y_BTD, [*choices, choice]

    def modules_in_order(self) -> list[Acm]:
        """As their choices are returned."""
        if isinstance(self.attention, AcmAttention):
            return [*self.attention.modules_in_order(), self.mlp]
        return [self.mlp]


class AcmVit(nn.Module):
    """uint8 pictures and budgets [B] in [0, 1] in; logits [B, K] and every module's choice out.

    `form`: how chosen learners run in evaluation; None leaves it to the device.
    """

    def __init__(self, spec: VitSpec, settings: AcmSettings) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        self.outer = VisionTransformer(replace(spec, layers=0))
        self.blocks = nn.ModuleList(AcmBlock(spec, settings) for _ in range(spec.layers))

    def forward(
        self, pictures: Tensor, beta_B: Tensor, form: Form | None = None
    ) -> tuple[Tensor, list[Choice]]:
        x_BTD = self.outer.embed(pictures)
        choices: list[Choice] = []
        for block in self.blocks:
            x_BTD, chosen = block(x_BTD, beta_B, form)
            choices += chosen
        return self.outer.classify(x_BTD), choices

    def modules_in_order(self) -> list[Acm]:
        """All modules with a gate, as their choices are returned."""
        blocks = [block for block in self.blocks if isinstance(block, AcmBlock)]
        return [module for block in blocks for module in block.modules_in_order()]

    def cost(self) -> NetCost:
        """What a picture costs, for each choice."""
        spec, modules = self.spec, self.modules_in_order()
        fixed = count_outer(spec) + spec.layers * count_attention(spec)
        fixed += sum(module.gate.picture_macs for module in modules)
        if not self.settings.projections:
            fixed += spec.layers * 4 * spec.tokens * spec.width**2
        costs = [ModuleCost(one.gate.macs, one.learner_macs, one.learners) for one in modules]
        return NetCost(fixed, spec.tokens, tuple(costs))


def count_dense(spec: VitSpec) -> int:
    """MACs of a picture in the dense net."""
    layers = 4 * spec.width**2 + 2 * spec.width * spec.hidden
    each = spec.tokens * layers + count_attention(spec)
    return count_outer(spec) + spec.layers * each


def count_attention(spec: VitSpec, tokens: int | None = None) -> int:
    """MACs of a layer's two products of attention, projections excluded, on all tokens or so
    many."""
    return 2 * (spec.tokens if tokens is None else tokens) ** 2 * spec.width


def count_outer(spec: VitSpec) -> int:
    """MACs of stem and head."""
    return spec.count_stem() + spec.width * spec.classes


def _project(spec: VitSpec, settings: AcmSettings, layers: int) -> Acm:
    rank = replaced_rank(spec.width, spec.width, settings.learners)
    learners = LearnerSpec(spec.width, spec.width, settings.learners, rank, gelu=False)
    gate = Gate(spec.width, settings.learners, 1, settings.gate_width)
    return Acm(gate, [Learners(learners) for _ in range(layers)])
