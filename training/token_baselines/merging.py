"""Token merging, after "Token Merging: Your ViT But Faster" (arXiv 2210.09461).

Between attention and MLP of every layer the `merged` most similar pairs of tokens become one each.
Every second token looks for the most similar one among the others, by the cosine of their keys,
averaged over heads; the best pairs merge. A token's size is the number of patches that it stands
for: it weighs the mean of a pair, its key in attention, and its part of the last mean. No training
is needed.

Shapes: B pictures, T tokens, D width, H heads, d width of a head, A and O: every second token, and
the others.
"""

import copy

import torch
from torch import Tensor, nn

from tokens.acm.network import count_attention, count_outer
from tokens.vision_transformer import Block, VisionTransformer


def merge_pairs(x_BTD: Tensor, size_BT1: Tensor, metric_BTd: Tensor, merged: int) -> list[Tensor]:
    """The tokens, and their sizes, with `merged` fewer of them; at most half of them go."""
    merged = min(merged, x_BTD.shape[1] // 2)
    if merged == 0:
        return [x_BTD, size_BT1]
    metric_BTd = nn.functional.normalize(metric_BTd, dim=-1)
    alike_BAO = metric_BTd[:, ::2] @ metric_BTd[:, 1::2].transpose(1, 2)
    best_BA, partner_BA = alike_BAO.max(dim=-1)
    order_BA = best_BA.argsort(dim=-1, descending=True)
    gone, stay = order_BA[:, :merged], order_BA[:, merged:]
    into = partner_BA.gather(1, gone)

    def put_together(values_BTC: Tensor) -> Tensor:
        """Sums, in place of the pairs."""
        of_A, of_O = values_BTC[:, ::2], values_BTC[:, 1::2]
        added = of_O.scatter_add(1, _widen(into, of_O), of_A.gather(1, _widen(gone, of_A)))
        return torch.cat([of_A.gather(1, _widen(stay, of_A)), added], dim=1)

    sizes = put_together(size_BT1)
    return [put_together(x_BTD * size_BT1) / sizes, sizes]


class MergingVit(nn.Module):
    """uint8 pictures in, logits [B, K] out. `merged` tokens fewer in each layer."""

    def __init__(self, dense: VisionTransformer, merged: int) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(dense)
        self.merged = merged

    def forward(self, pictures: Tensor) -> Tensor:
        return self.run(pictures, self.merged)

    def run(self, pictures: Tensor, merged: int) -> Tensor:
        """The logits with another number of merged tokens."""
        trunk = self.trunk
        x_BTD = trunk.embed(pictures)
        size_BT1 = torch.ones_like(x_BTD[:, :, :1])
        for block in trunk.blocks:
            assert isinstance(block, Block)
            y_BTD, metric_BTd = _attend(block, x_BTD, size_BT1)
            x_BTD, size_BT1 = merge_pairs(x_BTD + y_BTD, size_BT1, metric_BTd, merged)
            x_BTD = x_BTD + block.mlp(block.mlp_norm(x_BTD))
        share_BT1 = size_BT1 / trunk.spec.tokens
        logits_BK: Tensor = trunk.head((trunk.norm(x_BTD) * share_BT1).sum(dim=1))
        return logits_BK

    def macs(self, merged: int) -> int:
        """Of a picture: projections and attention on the tokens before a layer's merge, the search
        for pairs, and the MLP on the tokens after it."""
        spec = self.trunk.spec
        total, tokens = count_outer(spec), spec.tokens
        for _ in range(spec.layers):
            total += tokens * 4 * spec.width**2 + count_attention(spec, tokens)
            gone = min(merged, tokens // 2)
            if gone:
                total += (tokens - tokens // 2) * (tokens // 2) * (spec.width // spec.heads)
            tokens -= gone
            total += tokens * 2 * spec.width * spec.hidden
        return total


def _attend(block: Block, x_BTD: Tensor, size_BT1: Tensor) -> tuple[Tensor, Tensor]:
    """Attention to tokens in proportion to their sizes, and the mean key of all heads."""
    own, z_BTD = block.attention, block.attention_norm(x_BTD)
    batch, tokens, width = z_BTD.shape
    q, k, v = (
        project(z_BTD).view(batch, tokens, own.heads, -1).transpose(1, 2)
        for project in (own.q, own.k, own.v)
    )
    weight_B11T = size_BT1.log().transpose(1, 2).unsqueeze(1)
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=weight_B11T)
    y_BTD: Tensor = own.o(mixed.transpose(1, 2).reshape(batch, tokens, width))
    return y_BTD, k.mean(dim=1)


def _widen(places_BR: Tensor, values_BTC: Tensor) -> Tensor:
    return places_BR.unsqueeze(-1).expand(-1, -1, values_BTC.shape[-1])
