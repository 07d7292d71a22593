"""Keys and values of single rows, and decoding of any rows together.

Rows join and leave a batch between tokens, so each has its own buffers: they are as long as the
row needs, are never copied when the batch changes, and are freed with the row. Projections run for
all rows at once, attention row by row over the row's own length, without padding.

Shapes: B rows, T tokens, G key heads, S places, d width of a head, H query heads, D width.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from tokens.pyramid_drop.dropping import Positions
from tokens.vision_language.layers import Rotary


class DecodingLayer(Protocol):
    """A layer of a decoder, but for the attention itself."""

    def begin_token(self, x_BD: Tensor, turn: Rotary, /) -> tuple[Tensor, Tensor]:
        """Rotated queries [B, H, d] of each row's token, and its keys and values [B, 2, G, d]."""

    def end_token(self, x_BD: Tensor, mixed_BD: Tensor, /) -> Tensor:
        """The tokens after the layer; `mixed_BD`: what their heads attended to."""


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
        mixed_1H1d = nn.functional.scaled_dot_product_attention(
            q_Hd[None, :, None], k_GSd[None], v_GSd[None], enable_gqa=len(q_Hd) != len(k_GSd)
        )
        return mixed_1H1d.flatten()


def split_rows(
    layers: Sequence[tuple[Tensor, Tensor, Tensor]], next_B: Tensor, rooms: Sequence[int]
) -> list[RowCache]:
    """Give each row of a prefill buffers of its own, with room for so many further tokens.

    `layers`: keys and values [B, G, T, d] and used places [B] of each; padding is on the right.
    """
    lengths_LB = [length_B.tolist() for _, _, length_B in layers]
    found = []
    for row, (room, position) in enumerate(zip(rooms, next_B.tolist(), strict=True)):
        kv, lengths = [], []
        for (k_BGTd, v_BGTd, _), length_B in zip(layers, lengths_LB, strict=True):
            used = int(length_B[row])
            _, heads, _, width = k_BGTd.shape
            own = k_BGTd.new_zeros(2, heads, used + room, width)
            own[0, :, :used], own[1, :, :used] = k_BGTd[row, :, :used], v_BGTd[row, :, :used]
            kv.append(own)
            lengths.append(used)
        found.append(RowCache(kv, lengths, int(position)))
    return found


def count_bytes(key_width: int, lengths: Sequence[int], room: int, item_bytes: int) -> int:
    """The bytes of a row's buffers for a prompt with so many tokens in each layer."""
    return sum(2 * key_width * (length + room) * item_bytes for length in lengths)


def decode_rows(
    layers: Iterable[DecodingLayer],
    x_BD: Tensor,
    caches: Sequence[RowCache],
    positions: Positions,
    turn: Callable[[Tensor], Rotary],  # of positions [B, 1]
) -> Tensor:
    """Feed one more token a row, x, through the layers; what leaves the last. The caches grow by
    the token.
    """
    known: tuple[int, ...] = ()
    for index, layer in enumerate(layers):
        if positions == "compacted":
            at = tuple(cache.lengths[index] for cache in caches)
        else:
            at = tuple(cache.next_position for cache in caches)
        if at != known:  # layers with the same drops behind them have the same positions
            known = at
            turned = turn(torch.tensor(at, device=x_BD.device).unsqueeze(1))
        q_BHd, kv_B2Gd = layer.begin_token(x_BD, turned)
        mixed_BD = torch.stack(
            [
                cache.attend(index, q_Hd, kv_2Gd)
                for cache, q_Hd, kv_2Gd in zip(caches, q_BHd, kv_B2Gd, strict=True)
            ]
        )
        x_BD = layer.end_token(x_BD, mixed_BD)
    for cache in caches:
        cache.next_position += 1
    return x_BD
