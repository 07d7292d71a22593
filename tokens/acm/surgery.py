"""Turning a trained dense transformer into one with learners.

What is not replaced is copied. Learners may begin at random, as in the paper, or with the teacher's
own weights, from where distillation is shorter: an MLP's hidden units are dealt to the learners,
the heaviest first, so that all learners together are the MLP; a projection's learners get its
singular directions in order, so that every prefix is the nearest map of its rank (Eckart-Young).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from tokens.acm.learners import Learners
from tokens.acm.network import AcmAttention, AcmBlock, AcmSettings, AcmVit
from tokens.vision_transformer import Attention, Block, VisionTransformer

Start = Literal["teacher", "random"]


def convert(net: nn.Module, settings: AcmSettings, start: Start = "teacher") -> AcmVit:
    """A new net; the dense one stays as it is. Random numbers are torch's: seed it before.

    Raises ValueError in one sentence for a net or settings that cannot be converted.
    """
    if not isinstance(net, VisionTransformer):
        raise ValueError(f"a {type(net).__name__} cannot be converted, a VisionTransformer can")
    spec = net.spec
    if not 1 <= settings.learners <= spec.hidden:
        raise ValueError(
            f"{settings.learners} learners; an MLP of {spec.hidden} hidden units gives 1 to "
            f"{spec.hidden}"
        )
    if spec.hidden % settings.learners and start == "teacher":
        raise ValueError(
            f"{spec.hidden} hidden units cannot be dealt to {settings.learners} learners evenly"
        )
    converted = AcmVit(spec, settings)
    outer = {k: v for k, v in net.state_dict().items() if not k.startswith("blocks.")}
    converted.outer.load_state_dict(outer)
    for block, dense in zip(converted.blocks, net.blocks, strict=True):
        assert isinstance(block, AcmBlock)
        assert isinstance(dense, Block)
        _fill(block, dense, start)
    return converted


@torch.no_grad()
def _fill(block: AcmBlock, dense: Block, start: Start) -> None:
    block.attention_norm.load_state_dict(dense.attention_norm.state_dict())
    block.mlp_norm.load_state_dict(dense.mlp_norm.state_dict())
    if isinstance(block.attention, Attention):
        block.attention.load_state_dict(dense.attention.state_dict())
    if start == "random":
        return
    first, _, second = dense.mlp
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    begin_as_mlp(_layers(block.mlp)[0], first, second)
    if isinstance(block.attention, AcmAttention):
        layers = [one for acm in block.attention.modules_in_order() for one in _layers(acm)]
        own = dense.attention
        for learners, linear in zip(layers, (own.q, own.k, own.v, own.o), strict=True):
            begin_as_projection(learners, linear)


@torch.no_grad()
def begin_as_mlp(learners: Learners, first: nn.Linear, second: nn.Linear) -> None:
    """Deal the hidden units to the learners, in `order_units`."""
    order = order_units(first, second)
    learners.first.copy_(first.weight[order])
    learners.first_bias.copy_(first.bias[order])
    learners.second.copy_(second.weight.T[order])
    learners.bias.copy_(second.bias)


def order_units(first: nn.Linear, second: nn.Linear) -> Tensor:
    """An MLP's hidden units, int64, the heaviest first by the product of their weights' norms."""
    weight = first.weight.norm(dim=1) * second.weight.norm(dim=0)
    order: Tensor = weight.argsort(descending=True)
    return order


@torch.no_grad()
def begin_as_projection(learners: Learners, linear: nn.Linear) -> None:
    """The leading singular directions, each split evenly between the two layers."""
    u, values, v = torch.linalg.svd(linear.weight, full_matrices=False)  # W = u diag(values) v
    units = min(len(learners.first), len(values))
    root = values[:units].sqrt().unsqueeze(1)
    for parameter in (learners.first, learners.first_bias, learners.second):
        parameter.zero_()
    learners.first[:units] = root * v[:units]
    learners.second[:units] = root * u.T[:units]
    learners.bias.copy_(linear.bias)


def _layers(acm: nn.Module) -> list[Learners]:
    return [one for one in acm.modules() if isinstance(one, Learners)]
