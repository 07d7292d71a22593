"""Static smaller transformers, cut out of a trained one.

Layers are kept at even distances, the first and the last among them; of an MLP's hidden units the
heaviest are kept, by the order in which learners get them (`tokens.acm.surgery`).
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from tokens.acm.surgery import order_units
from tokens.vision_transformer import Block, VisionTransformer


@dataclass(frozen=True, slots=True)
class Size:
    """The shares of the layers, and of each MLP's hidden units, that are kept."""

    layers: float
    hidden: float


@torch.no_grad()
def cut(dense: VisionTransformer, size: Size) -> VisionTransformer:
    """A new net, which has at least one layer and one hidden unit; the dense one stays."""
    spec = dense.spec
    layers = max(1, round(size.layers * spec.layers))
    hidden = max(1, round(size.hidden * spec.hidden))
    smaller = VisionTransformer(replace(spec, layers=layers, hidden=hidden))
    outer = {k: v for k, v in dense.state_dict().items() if not k.startswith("blocks.")}
    smaller.load_state_dict(outer, strict=False)
    for block, place in zip(smaller.blocks, choose_layers(spec.layers, layers), strict=True):
        own = dense.blocks[place]
        assert isinstance(block, Block) and isinstance(own, Block)
        _fill(block, own)
    return smaller


def choose_layers(layers: int, kept: int) -> list[int]:
    """The places of the kept layers, in order."""
    if kept == 1:
        return [0]
    return [round(place * (layers - 1) / (kept - 1)) for place in range(kept)]


def _fill(block: Block, own: Block) -> None:
    for name in ("attention_norm", "attention", "mlp_norm"):
        block.get_submodule(name).load_state_dict(own.get_submodule(name).state_dict())
    (first, _, second), (from_first, _, from_second) = block.mlp, own.mlp
    assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
    assert isinstance(from_first, nn.Linear) and isinstance(from_second, nn.Linear)
    units = order_units(from_first, from_second)[: first.out_features]
    first.weight.copy_(from_first.weight[units])
    first.bias.copy_(from_first.bias[units])
    second.weight.copy_(from_second.weight[:, units])
    second.bias.copy_(from_second.bias)
