"""Weights by the names of another library, taken one by one into a net of this package.

What the other net computes must be what `VisionTransformer` computes with a `PatchSpec`: pre-norm
blocks, exact GELU, one class token, learned absolute positions. A scale at the end of a branch
(LayerScale) is multiplied into the layer before it. Every weight has to find its place, so that a
net with anything else is refused, not converted in part.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tokens.vision_transformer import PatchSpec, VisionTransformer


@dataclass(frozen=True, slots=True)
class Linear:
    """A layer [O, I] and its bias [O]."""

    weight: Tensor
    bias: Tensor

    def scale(self, factors: Tensor | None) -> "Linear":
        """Each output times its factor; as it is without factors."""
        if factors is None:
            return self
        return Linear(self.weight * factors.unsqueeze(1), self.bias * factors)

    def split(self, count: int) -> list["Linear"]:
        """Layers whose outputs side by side are this layer's."""
        parts = zip(self.weight.chunk(count), self.bias.chunk(count), strict=True)
        return [Linear(*part) for part in parts]


@dataclass(frozen=True, slots=True)
class ForeignBlock:
    """One layer of the other net."""

    attention_norm: Linear
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    mlp_norm: Linear
    first: Linear
    second: Linear


class Weights:
    """Each is taken once, as float32. `kind` names the net in errors."""

    def __init__(self, tensors: Mapping[str, Tensor], kind: str) -> None:
        self._left, self._kind = dict(tensors), kind

    def has(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str) -> Tensor:
        """Raises ValueError where there is none."""
        if name not in self._left:
            raise ValueError(f"{self._kind} without {name} cannot be converted")
        return self._left.pop(name).detach().to("cpu", torch.float32)

    def take_linear(self, name: str) -> Linear:
        """A layer; a missing bias is 0."""
        weight = self.take(f"{name}.weight")
        bias = f"{name}.bias"
        return Linear(weight, self.take(bias) if self.has(bias) else torch.zeros(len(weight)))

    def take_optional(self, name: str) -> Tensor | None:
        return self.take(name) if self.has(name) else None

    def drop(self, name: str) -> None:
        """Leave out what does not take part in the logits."""
        self._left.pop(name, None)

    def check_all_taken(self) -> None:
        """Raise ValueError where something has no counterpart."""
        if self._left:
            raise ValueError(f"{self._kind} with {min(self._left)} cannot be converted")


def fill(
    spec: PatchSpec,
    stem: Linear,
    class_token: Tensor,
    positions: Tensor,
    blocks: list[ForeignBlock],
    norm: Linear,
    head: Linear | None,
    kind: str,
) -> VisionTransformer:
    """The net of these sizes with these weights; without a head it begins at random.

    `stem`: the weight [D, C, P, P]. `positions`: [T, D], or [T - 1, D] if the class token has none.
    Raises ValueError in one sentence for weights of other sizes.
    """
    net = VisionTransformer(spec)
    found = {"class_token": class_token.flatten(), "positions": _spread(positions, spec)}
    layers = {"stem.0": stem, "norm": norm, **({} if head is None else {"head": head})}
    for place, block in enumerate(blocks):
        for name, linear in _name_layers(block).items():
            layers[f"blocks.{place}.{name}"] = linear
    for name, linear in layers.items():
        found |= {f"{name}.weight": linear.weight, f"{name}.bias": linear.bias}
    for name, value in net.state_dict().items():
        if name in found and found[name].shape != value.shape:
            raise ValueError(
                f"{kind} whose {name} is {list(found[name].shape)} cannot be converted, "
                f"{list(value.shape)} is needed"
            )
    net.load_state_dict({**net.state_dict(), **found})
    return net.eval()


def count_side(positions: int) -> int:
    """Patches along a side of the square picture, from the number of learned positions, with or
    without one for the class token; 0 if there is no such square."""
    for patches in (positions - 1, positions):
        side = math.isqrt(max(patches, 0))
        if side > 0 and side**2 == patches:
            return side
    return 0


def _spread(positions: Tensor, spec: PatchSpec) -> Tensor:
    """With a zero for a class token that has no position."""
    if len(positions) != spec.patches:
        return positions
    return torch.cat([torch.zeros(1, positions.shape[1]), positions])


def _name_layers(block: ForeignBlock) -> dict[str, Linear]:
    return {
        "attention_norm": block.attention_norm,
        "attention.q": block.q,
        "attention.k": block.k,
        "attention.v": block.v,
        "attention.o": block.o,
        "mlp_norm": block.mlp_norm,
        "mlp.0": block.first,
        "mlp.2": block.second,
    }
