"""The layers of a Llama-shaped decoder: RMS norm, rotary positions, grouped queries, gated MLP.

A layer's keys can be computed before the rest of it, since PyramidDrop scores tokens by them and
then runs the layer on the tokens that stay.

Shapes: B rows, T tokens, D width, H query heads, G key heads, d width of a head, S keys.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tokens.pyramid_drop.dropping import take


@dataclass(frozen=True, slots=True)
class Rotary:
    """Cosines and sines [B, 1, T, d] of the tokens' positions; one row may stand for all. The first
    half of the sines is negative.
    """

    cos: Tensor
    sin: Tensor

    def begin(self, tokens: int) -> "Rotary":
        """Of the first tokens."""
        return Rotary(self.cos[:, :, :tokens], self.sin[:, :, :tokens])

    def to(self, dtype: torch.dtype) -> "Rotary":
        return Rotary(self.cos.to(dtype), self.sin.to(dtype))


def rotary(position_BT: Tensor, width: int, base: float) -> Rotary:
    """For heads of `width`, whose two halves turn together (as in Llama)."""
    steps = torch.arange(0, width, 2, device=position_BT.device, dtype=torch.float32)
    angles_BTd = position_BT.unsqueeze(-1).float() * base ** (-steps / width)
    cos_BTd, sin_BTd = angles_BTd.cos(), angles_BTd.sin()
    return make_rotary(torch.cat([cos_BTd, cos_BTd], -1), torch.cat([sin_BTd, sin_BTd], -1))


def make_rotary(cos_BTd: Tensor, sin_BTd: Tensor) -> Rotary:
    """From cosines and sines as Llama has them, both halves alike."""
    half = sin_BTd.shape[-1] // 2
    signed_BTd = torch.cat([-sin_BTd[..., :half], sin_BTd[..., half:]], dim=-1)
    return Rotary(cos_BTd.unsqueeze(1), signed_BTd.unsqueeze(1))


def rotate(x_BHTd: Tensor, turn: Rotary) -> Tensor:
    """The heads, turned by their tokens' positions."""
    swapped_BHTd = x_BHTd.roll(x_BHTd.shape[-1] // 2, dims=-1)
    return torch.addcmul(x_BHTd * turn.cos, swapped_BHTd, turn.sin)


@dataclass(frozen=True, slots=True)
class Projected:
    """What a layer computes of its tokens before attention: normalised tokens and raw keys."""

    normed_BTD: Tensor
    key_BTD: Tensor  # before rotation, [B, T, G * d]

    def take(self, order_BK: Tensor) -> "Projected":
        return Projected(take(self.normed_BTD, order_BK), take(self.key_BTD, order_BK))


def mix_heads(
    q_BHTd: Tensor, k_BGSd: Tensor, v_BGSd: Tensor, mask: Tensor | None, causal: bool
) -> Tensor:
    """Every query head's mixture of values, side by side: [B, T, H * d].

    Groups of query heads share a key head.
    """
    mixed_BHTd = nn.functional.scaled_dot_product_attention(
        q_BHTd, k_BGSd, v_BGSd, mask, is_causal=causal,
        enable_gqa=q_BHTd.shape[1] != k_BGSd.shape[1],
    )  # fmt: skip
    return mixed_BHTd.transpose(1, 2).flatten(2)


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.rms_norm(x, self.weight.shape, self.weight, eps=1e-6)


class Attention(nn.Module):
    """Projections without biases; groups of query heads share a key head."""

    def __init__(self, width: int, heads: int, key_heads: int) -> None:
        super().__init__()
        self.heads, self.key_heads, self.head_width = heads, key_heads, width // heads
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, key_heads * self.head_width, bias=False)
        self.v = nn.Linear(width, key_heads * self.head_width, bias=False)
        self.o = nn.Linear(width, width, bias=False)

    def split(self, x_BTD: Tensor) -> Tensor:
        """Heads apart: [B, heads, T, d]."""
        rows, tokens, _ = x_BTD.shape
        return x_BTD.view(rows, tokens, -1, self.head_width).transpose(1, 2)

    def mix(
        self, q_BHTd: Tensor, k_BGSd: Tensor, v_BGSd: Tensor, mask: Tensor | None, causal: bool
    ) -> Tensor:
        """The output [B, T, D] of these rotated queries and keys."""
        y_BTD: Tensor = self.o(mix_heads(q_BHTd, k_BGSd, v_BGSd, mask, causal))
        return y_BTD


class GatedMlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.down(nn.functional.silu(self.gate(x_BTD)) * self.up(x_BTD))
        return y_BTD


class DecoderLayer(nn.Module):
    """Pre-norm attention and MLP, each under a residual."""

    def __init__(self, width: int, heads: int, key_heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = RmsNorm(width)
        self.attention = Attention(width, heads, key_heads)
        self.mlp_norm = RmsNorm(width)
        self.mlp = GatedMlp(width, hidden)

    def project(self, x_BTD: Tensor) -> Projected:
        """The first part of the layer, for tokens of which some may then be dropped."""
        normed_BTD = self.attention_norm(x_BTD)
        return Projected(normed_BTD, self.attention.k(normed_BTD))

    def prefill(
        self, x_BTD: Tensor, projected: Projected, turn: Rotary, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The tokens after the layer, and its rotated queries and keys and its values, by heads.

        Without a mask attention is causal, which suffices for rows that are padded on the right.
        """
        attention = self.attention
        q_BHTd = rotate(attention.split(attention.q(projected.normed_BTD)), turn)
        k_BGTd = rotate(attention.split(projected.key_BTD), turn)
        v_BGTd = attention.split(attention.v(projected.normed_BTD))
        x_BTD = x_BTD + attention.mix(q_BHTd, k_BGTd, v_BGTd, mask, causal=mask is None)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD)), q_BHTd, k_BGTd, v_BGTd

    def decode(
        self, x_B1D: Tensor, turn: Rotary, k_BGSd: Tensor, v_BGSd: Tensor, at_B: Tensor
    ) -> Tensor:
        """One more token a row. Its key and value are written into the buffers at `at_B`."""
        attention = self.attention
        projected = self.project(x_B1D)
        rows = torch.arange(len(at_B), device=at_B.device)
        k_BGSd[rows, :, at_B] = rotate(attention.split(projected.key_BTD), turn).squeeze(2)
        v_BGSd[rows, :, at_B] = attention.split(attention.v(projected.normed_BTD)).squeeze(2)
        q_BH1d = rotate(attention.split(attention.q(projected.normed_BTD)), turn)
        places = torch.arange(k_BGSd.shape[2], device=at_B.device)
        mask = (places <= at_B.unsqueeze(1)).unsqueeze(1).unsqueeze(1)
        x_B1D = x_B1D + attention.mix(q_BH1d, k_BGSd, v_BGSd, mask, causal=False)
        y_B1D: Tensor = x_B1D + self.mlp(self.mlp_norm(x_B1D))
        return y_B1D

    def begin_token(self, x_BD: Tensor, turn: Rotary) -> tuple[Tensor, Tensor]:
        """Rotated queries [B, H, d] of each row's next token, and its keys and values
        [B, 2, G, d]."""
        attention = self.attention
        normed_B1D = self.attention_norm(x_BD).unsqueeze(1)
        q_BHd = rotate(attention.split(attention.q(normed_B1D)), turn).squeeze(2)
        k_BG1d = rotate(attention.split(attention.k(normed_B1D)), turn)
        v_BG1d = attention.split(attention.v(normed_B1D))
        return q_BHd, torch.stack([k_BG1d, v_BG1d], dim=1).squeeze(3)

    def end_token(self, x_BD: Tensor, mixed_BD: Tensor) -> Tensor:
        """The tokens after the layer; `mixed_BD`: what their heads attended to."""
        x_BD = x_BD + self.attention.o(mixed_BD)
        y_BD: Tensor = x_BD + self.mlp(self.mlp_norm(x_BD))
        return y_BD
