"""A compact vision transformer with a convolutional stem, in parts that can be replaced.

The stem halves the picture's side twice by 3x3 convolutions (Xiao et al., arXiv 2106.14881), which
small data sets need more than large ones. Blocks are pre-norm. The four projections of attention
are separate linear layers, and tokens are averaged for the head, so there is no class token.

Shapes: B pictures, T tokens, D width, H heads, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class VitSpec:
    """The architecture, and the statistics by which the net normalises its pictures."""

    size_px: int  # side of the square pictures, a multiple of 4
    classes: int
    mean: tuple[float, ...]  # of the pixels in [0, 1], one a channel
    std: tuple[float, ...]
    width: int = 128
    layers: int = 6
    heads: int = 4
    hidden: int = 512  # units between the two layers of an MLP
    stem: tuple[int, int, int] = (16, 48, 96)  # channels: full size, half, a quarter

    @property
    def tokens(self) -> int:
        return (self.size_px // 4) ** 2


class Attention(nn.Module):
    """Self-attention [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.o = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        mixed_BTD = attend(self.q(x_BTD), self.k(x_BTD), self.v(x_BTD), self.heads)
        y_BTD: Tensor = self.o(mixed_BTD)
        return y_BTD


class Block(nn.Module):
    """One layer: attention, then an MLP, each on normalised tokens and under a residual."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD))
        y_BTD: Tensor = x_BTD + self.mlp(self.mlp_norm(x_BTD))
        return y_BTD


class VisionTransformer(nn.Module):
    """uint8 pictures, grey [B, S, S] or colour [B, S, S, C], in, logits [B, K] out."""

    def __init__(self, spec: VitSpec) -> None:
        super().__init__()
        check_spec(spec)
        self.spec = spec
        self.stem = make_stem(len(spec.mean), spec.stem, spec.width)
        self.positions = nn.Parameter(torch.zeros(spec.tokens, spec.width))
        self.blocks = nn.ModuleList(
            Block(spec.width, spec.heads, spec.hidden) for _ in range(spec.layers)
        )
        self.norm = nn.LayerNorm(spec.width)
        self.head = nn.Linear(spec.width, spec.classes)
        self.apply(_initialise)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def embed(self, pictures: Tensor) -> Tensor:
        """The tokens [B, T, D] that enter the first block."""
        map_BDHW = self.stem(normalise(pictures, self.spec.mean, self.spec.std))
        x_BTD: Tensor = map_BDHW.flatten(2).transpose(1, 2) + self.positions
        return x_BTD

    def classify(self, x_BTD: Tensor) -> Tensor:
        """The logits [B, K] of what leaves the last block."""
        logits_BK: Tensor = self.head(self.norm(x_BTD).mean(dim=1))
        return logits_BK

    def forward(self, pictures: Tensor) -> Tensor:
        x_BTD = self.embed(pictures)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.classify(x_BTD)


def attend(q_BTD: Tensor, k_BTD: Tensor, v_BTD: Tensor, heads: int) -> Tensor:
    """Every head's mixture of values, side by side: [B, T, D]."""
    batch, tokens, width = q_BTD.shape
    q, k, v = (
        one.view(batch, tokens, heads, width // heads).transpose(1, 2)
        for one in (q_BTD, k_BTD, v_BTD)
    )
    mixed_BHTd = nn.functional.scaled_dot_product_attention(q, k, v)
    return mixed_BHTd.transpose(1, 2).reshape(batch, tokens, width)


def normalise(pictures: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 pictures as float32 [B, C, S, S] of mean 0 and deviation 1 a channel."""
    x = pictures.to(torch.float32)
    x_BCSS = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
    scale = torch.tensor([1.0 / (255.0 * one) for one in std], device=x.device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=x.device)
    return x_BCSS * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)


def make_stem(channels: int, widths: tuple[int, int, int], width: int) -> nn.Sequential:
    """[B, channels, S, S] -> [B, width, S / 4, S / 4]."""
    layers: list[nn.Module] = []
    for outputs, stride in zip(widths, (1, 2, 2), strict=True):
        layers += [
            nn.Conv2d(channels, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
        channels = outputs
    return nn.Sequential(*layers, nn.Conv2d(channels, width, 1))


def check_spec(spec: VitSpec) -> None:
    """Raise ValueError in one sentence for sizes that do not fit each other."""
    if spec.size_px % 4 or spec.size_px <= 0:
        raise ValueError(f"pictures of {spec.size_px} pixels a side; a multiple of 4 is needed")
    if spec.width % spec.heads:
        raise ValueError(f"width {spec.width} is not a multiple of {spec.heads} heads")
    if len(spec.mean) != len(spec.std):
        raise ValueError(f"{len(spec.mean)} means and {len(spec.std)} deviations of channels")


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
