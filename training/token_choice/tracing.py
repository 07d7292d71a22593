"""What a dense transformer's layers take and give: what learners are distilled from.

Shapes: B pictures, T tokens, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tokens.acm.network import AcmSettings
from tokens.vision_transformer import Block, VisionTransformer, attend


@dataclass(frozen=True, slots=True)
class Traced:
    """One module's tokens, and the outputs of each layer that it replaces."""

    inputs_BTD: Tensor
    outputs: tuple[Tensor, ...]


@torch.no_grad()
def trace(net: VisionTransformer, pictures: Tensor, settings: AcmSettings) -> list[Traced]:
    """For every module of a net converted with these settings, in its modules' order."""
    x_BTD = net.embed(pictures)
    traced: list[Traced] = []
    for block in net.blocks:
        assert isinstance(block, Block)
        own = block.attention
        z_BTD = block.attention_norm(x_BTD)
        q_BTD, k_BTD, v_BTD = own.q(z_BTD), own.k(z_BTD), own.v(z_BTD)
        mixed_BTD = attend(q_BTD, k_BTD, v_BTD, own.heads)
        y_BTD = own.o(mixed_BTD)
        if settings.projections:
            inputs = (
                [(q_BTD, k_BTD, v_BTD)] if settings.shared_gate else [(q_BTD,), (k_BTD,), (v_BTD,)]
            )
            traced += [Traced(z_BTD, outputs) for outputs in inputs]
            traced.append(Traced(mixed_BTD, (y_BTD,)))
        x_BTD = x_BTD + y_BTD
        z_BTD = block.mlp_norm(x_BTD)
        y_BTD = block.mlp(z_BTD)
        traced.append(Traced(z_BTD, (y_BTD,)))
        x_BTD = x_BTD + y_BTD
    return traced
