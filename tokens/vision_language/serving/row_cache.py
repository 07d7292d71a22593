"""Keys and values of single rows, and decoding of any rows together.

Rows join and leave a batch between tokens, so each has its own buffers: they are as long as the
row needs, are never copied when the batch changes, and are freed with the row. Projections run for
all rows at once, attention row by row over the row's own length, without padding.

Shapes: B rows, G key heads, S places, d width of a head, H query heads, D width, V words.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tokens.pyramid_drop.dropping import Positions
from tokens.vision_language.cache import Cache
from tokens.vision_language.layers import DecoderLayer, rotary, rotate
from tokens.vision_language.model import VisionLanguageModel, VlmSpec


class RowCache:
    """One row's keys and values: by layer [2, G, S, d], of which `lengths` places are used."""

    __slots__ = ("kv", "lengths", "next_position")

    def __init__(self, kv: list[Tensor], lengths: list[int], next_position: int) -> None:
        self.kv = kv
        self.lengths = lengths
        self.next_position = next_position

    @property
    def size_bytes(self) -> int:
        """The memory of all buffers."""
        return sum(one.numel() * one.element_size() for one in self.kv)

    def attend(self, layer: int, q_Hd: Tensor, kv_2Gd: Tensor) -> Tensor:
        """Take the next token's key and value, and return its query heads' mixtures [H * d]."""
        used = self.lengths[layer]
        kv = self.kv[layer]
        kv[:, :, used] = kv_2Gd
        self.lengths[layer] = used + 1
        k_GSd, v_GSd = kv[:, :, : used + 1].unbind(0)
        q_Ged = q_Hd.view(len(k_GSd), -1, q_Hd.shape[-1])
        products_GeS = q_Ged @ k_GSd.transpose(1, 2) * q_Hd.shape[-1] ** -0.5
        mixed_Hd: Tensor = products_GeS.softmax(dim=-1) @ v_GSd
        return mixed_Hd.flatten()


def split_rows(cache: Cache, rooms: Sequence[int]) -> list[RowCache]:
    """Give each row of a prefill buffers of its own, with room for so many further tokens."""
    lengths_LB = [one.length_B.tolist() for one in cache.layers]
    found = []
    for row, (room, position) in enumerate(zip(rooms, cache.next_B.tolist(), strict=True)):
        kv, lengths = [], []
        for one, length_B in zip(cache.layers, lengths_LB, strict=True):
            used = int(length_B[row])
            _, heads, _, width = one.k.shape
            own = one.k.new_zeros(2, heads, used + room, width)
            own[0, :, :used], own[1, :, :used] = one.k[row, :, :used], one.v[row, :, :used]
            kv.append(own)
            lengths.append(used)
        found.append(RowCache(kv, lengths, int(position)))
    return found


def count_bytes(spec: VlmSpec, lengths: Sequence[int], room: int, item_bytes: int) -> int:
    """The bytes of a row's buffers for a prompt with so many tokens in each layer."""
    return sum(2 * spec.decoder.key_width * (length + room) * item_bytes for length in lengths)


def decode_rows(
    model: VisionLanguageModel, id_B: Tensor, caches: Sequence[RowCache], positions: Positions
) -> Tensor:
    """Feed one more token a row; the logits [B, V] of the next. The caches grow by it."""
    x_BD = model.words(id_B)
    known: tuple[int, ...] = ()
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, DecoderLayer)
        if positions == "compacted":
            at = tuple(cache.lengths[index] for cache in caches)
        else:
            at = tuple(cache.next_position for cache in caches)
        if at != known:  # layers with the same drops behind them have the same positions
            known = at
            position_B1 = torch.tensor(at, device=x_BD.device).unsqueeze(1)
            turn = rotary(position_B1, model.spec.width // model.spec.heads, model.spec.rotary_base)
        attention = layer.attention
        normed_B1D = layer.attention_norm(x_BD).unsqueeze(1)
        q_BHd = rotate(attention.split(attention.q(normed_B1D)), turn).squeeze(2)
        k_BG1d = rotate(attention.split(attention.k(normed_B1D)), turn)
        v_BG1d = attention.split(attention.v(normed_B1D))
        kv_B2Gd = torch.stack([k_BG1d, v_BG1d], dim=1).squeeze(3)
        mixed_BD = torch.stack(
            [
                cache.attend(index, q_Hd, kv_2Gd)
                for cache, q_Hd, kv_2Gd in zip(caches, q_BHd, kv_B2Gd, strict=True)
            ]
        )
        x_BD = x_BD + attention.o(mixed_BD)
        x_BD = x_BD + layer.mlp(layer.mlp_norm(x_BD))
    for cache in caches:
        cache.next_position += 1
    return model.logits(model.norm(x_BD))
