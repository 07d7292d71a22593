"""A decoder layer of Hugging Face transformers, run in two parts from its own modules.

The first part gives the layer's normalised tokens and keys, by which tokens are scored; the second
runs the rest on the tokens that stay. It holds for layers of Llama's shape: Llama, Mistral, Qwen2
and the text part of Qwen2.5-VL. Nothing is replaced in the model.

Shapes: B rows, T tokens, D width, H query heads, G key heads, d width of a head.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokens.vision_language.layers import Projected, Rotary, mix_heads, rotate


@dataclass(frozen=True, slots=True)
class LayerParts:
    """One layer; `layer` is a module of transformers, which has no types."""

    layer: Any

    def q(self, x_BQD: Tensor, /) -> Tensor:
        """Queries before rotation."""
        queries: Tensor = self.layer.self_attn.q_proj(x_BQD)
        return queries

    def split(self, x_BTD: Tensor, /) -> Tensor:
        """Heads apart: [B, heads, T, d]."""
        rows, tokens, _ = x_BTD.shape
        return x_BTD.view(rows, tokens, -1, self.layer.self_attn.head_dim).transpose(1, 2)

    def project(self, x_BTD: Tensor) -> Projected:
        """The first part."""
        normed_BTD = self.layer.input_layernorm(x_BTD)
        return Projected(normed_BTD, self.layer.self_attn.k_proj(normed_BTD))

    def finish(
        self, x_BTD: Tensor, projected: Projected, turn: Rotary, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The second part: the tokens, and rotated queries and keys and values by heads.

        Without a mask attention is causal.
        """
        attention = self.layer.self_attn
        q_BHTd = rotate(self.split(attention.q_proj(projected.normed_BTD)), turn)
        k_BGTd = rotate(self.split(projected.key_BTD), turn)
        v_BGTd = self.split(attention.v_proj(projected.normed_BTD))
        mixed_BTD = mix_heads(q_BHTd, k_BGTd, v_BGTd, mask, causal=mask is None)
        x_BTD = x_BTD + attention.o_proj(mixed_BTD)
        y_BTD: Tensor = x_BTD + self.layer.mlp(self.layer.post_attention_layernorm(x_BTD))
        return y_BTD, q_BHTd, k_BGTd, v_BGTd

    def begin_token(self, x_BD: Tensor, turn: Rotary) -> tuple[Tensor, Tensor]:
        """Rotated queries [B, H, d] of each row's next token, and its keys and values
        [B, 2, G, d]."""
        attention = self.layer.self_attn
        projected = self.project(x_BD.unsqueeze(1))
        q_BHd = rotate(self.split(attention.q_proj(projected.normed_BTD)), turn).squeeze(2)
        k_BG1d = rotate(self.split(projected.key_BTD), turn)
        v_BG1d = self.split(attention.v_proj(projected.normed_BTD))
        return q_BHd, torch.stack([k_BG1d, v_BG1d], dim=1).squeeze(3)

    def end_token(self, x_BD: Tensor, mixed_BD: Tensor) -> Tensor:
        """The tokens after the layer; `mixed_BD`: what their heads attended to."""
        x_BD = x_BD + self.layer.self_attn.o_proj(mixed_BD)
        y_BD: Tensor = x_BD + self.layer.mlp(self.layer.post_attention_layernorm(x_BD))
        return y_BD
