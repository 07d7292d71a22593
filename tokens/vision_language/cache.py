"""Keys and values of a batch that generates: every layer has its own number of tokens a row.

Layers after a drop hold fewer visual tokens, so lengths differ by layer and by row. Buffers have
room for the tokens still to come.

Shapes: B rows, G key heads, S places, d width of a head.
"""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True)
class LayerCache:
    """One layer's keys and values [B, G, S, d]; row b has used `length_B[b]` places."""

    k: Tensor
    v: Tensor
    length_B: Tensor


@dataclass(slots=True)
class Cache:
    """Of all layers; `next_B` is the position of the next token where positions are kept."""

    room: int  # tokens that may still be generated
    next_B: Tensor
    layers: list[LayerCache] = field(default_factory=list)

    def add(self, k_BGTd: Tensor, v_BGTd: Tensor, length_B: Tensor) -> None:
        """Take the next layer's keys and values of a prefill."""
        if self.room == 0:
            self.layers.append(LayerCache(k_BGTd, v_BGTd, length_B))
            return
        rows, heads, tokens, width = k_BGTd.shape
        k, v = (x.new_zeros(rows, heads, tokens + self.room, width) for x in (k_BGTd, v_BGTd))
        k[:, :, :tokens], v[:, :, :tokens] = k_BGTd, v_BGTd
        self.layers.append(LayerCache(k, v, length_B.clone()))

    @property
    def size_bytes(self) -> int:
        """The memory of all buffers."""
        return sum(x.numel() * x.element_size() for one in self.layers for x in (one.k, one.v))

    def advance(self) -> None:
        """Count the token that every row has just written."""
        if self.room == 0:
            raise ValueError("no room for another token in the key-value cache")
        self.room -= 1
        self.next_B = self.next_B + 1
        for one in self.layers:
            one.length_B = one.length_B + 1
