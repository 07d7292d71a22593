"""A compact vision transformer with a convolutional stem, in parts that can be replaced.

The stem halves the picture's side twice, or three times, by 3x3 convolutions (Xiao et al., arXiv
2106.14881), which small data sets need more than large ones. Blocks are pre-norm. The four
projections of attention are separate linear layers, and tokens are averaged for the head, so there
is no class token. With a `PatchSpec` it is the net of Dosovitskiy et al. (arXiv 2010.11929)
instead, as others train it: patches of pixels become tokens directly, and the head reads a class
token.

Shapes: B pictures, T tokens, D width, H heads, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class VitSpec:
    """The architecture, and the statistics by which the net normalises its pictures."""

    size_px: int  # side of the square pictures, a multiple of `side_step_px`
    classes: int
    mean: tuple[float, ...]  # of the pixels in [0, 1], one a channel
    std: tuple[float, ...]
    width: int = 128
    layers: int = 6
    heads: int = 4
    hidden: int = 512  # units between the two layers of an MLP
    stem: tuple[int, int, int] = (16, 48, 96)  # channels after each convolution

    strides: ClassVar[tuple[int, int, int]] = (1, 2, 2)  # of the stem's convolutions
    has_class_token: ClassVar[bool] = False

    @property
    def patches(self) -> int:
        """Tokens that stand for a part of the picture."""
        return (self.size_px // self.side_step_px) ** 2

    @property
    def tokens(self) -> int:
        return self.patches + int(self.has_class_token)

    def make_stem(self) -> nn.Sequential:
        """[B, channels, S, S] -> [B, width, √patches, √patches]."""
        return make_stem(len(self.mean), self.stem, self.strides, self.width)

    def make_norm(self) -> nn.LayerNorm:
        """A norm of one token."""
        return nn.LayerNorm(self.width)

    def count_stem(self) -> int:
        """Multiply-accumulates of the stem for one picture."""
        side, channels, total = self.size_px, len(self.mean), 0
        for width, stride in zip(self.stem, self.strides, strict=True):
            side //= stride
            total += side**2 * width * channels * 9
            channels = width
        return total + side**2 * channels * self.width

    @property
    def side_step_px(self) -> int:
        """What the side of the pictures is a multiple of."""
        return math.prod(self.strides)

    def check(self) -> None:
        """Raise ValueError in one sentence for sizes that do not fit each other."""
        if self.size_px % self.side_step_px or self.size_px <= 0:
            raise ValueError(
                f"pictures of {self.size_px} pixels a side; a multiple of {self.side_step_px} is "
                "needed"
            )
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} deviations of channels")


@dataclass(frozen=True, slots=True)
class CoarseSpec(VitSpec):
    """For pictures of 64 pixels and more: the stem halves the side three times."""

    strides: ClassVar[tuple[int, int, int]] = (2, 2, 2)


@dataclass(frozen=True, slots=True)
class PatchSpec(VitSpec):
    """One convolution makes a token of each patch; a class token comes first. `stem` is unused."""

    patch_px: int = 16
    norm_eps: float = 1e-6  # added to the variance by every norm

    has_class_token: ClassVar[bool] = True

    @property
    def patches(self) -> int:
        return (self.size_px // self.patch_px) ** 2

    def make_stem(self) -> nn.Sequential:
        patch = nn.Conv2d(len(self.mean), self.width, self.patch_px, self.patch_px)
        return nn.Sequential(patch)

    def make_norm(self) -> nn.LayerNorm:
        return nn.LayerNorm(self.width, eps=self.norm_eps)

    def count_stem(self) -> int:
        return self.patches * self.patch_px**2 * len(self.mean) * self.width

    @property
    def side_step_px(self) -> int:
        return self.patch_px


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

    def __init__(self, spec: VitSpec) -> None:
        super().__init__()
        width, hidden = spec.width, spec.hidden
        self.attention_norm = spec.make_norm()
        self.attention = Attention(width, spec.heads)
        self.mlp_norm = spec.make_norm()
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD))
        y_BTD: Tensor = x_BTD + self.mlp(self.mlp_norm(x_BTD))
        return y_BTD


class VisionTransformer(nn.Module):
    """uint8 pictures, grey [B, S, S] or colour [B, S, S, C], in, logits [B, K] out."""

    def __init__(self, spec: VitSpec) -> None:
        super().__init__()
        spec.check()
        self.spec = spec
        self.stem = spec.make_stem()
        self.positions = nn.Parameter(torch.zeros(spec.tokens, spec.width))
        self.class_token = nn.Parameter(torch.zeros(spec.width)) if spec.has_class_token else None
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))
        self.norm = spec.make_norm()
        self.head = nn.Linear(spec.width, spec.classes)
        self.apply(_initialise)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def embed(self, pictures: Tensor) -> Tensor:
        """The tokens [B, T, D] that enter the first block."""
        x_BCSS = normalise(pictures, self.spec.mean, self.spec.std).to(self.positions.dtype)
        x_BTD: Tensor = self.stem(x_BCSS).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x_BTD = torch.cat([self.class_token.expand(len(x_BTD), 1, -1), x_BTD], dim=1)
        return x_BTD + self.positions

    def classify(self, x_BTD: Tensor) -> Tensor:
        """The logits [B, K] of what leaves the last block."""
        if self.class_token is not None:
            x_BD = self.norm(x_BTD[:, 0])
        else:
            x_BD = self.norm(x_BTD).mean(dim=1)
        logits_BK: Tensor = self.head(x_BD)
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
    planes = [  # by numbers, not tensors: those would have to reach an accelerator first
        x_BCSS[:, channel] * (1.0 / (255.0 * s)) + -m / s
        for channel, (m, s) in enumerate(zip(mean, std, strict=True))
    ]
    return torch.stack(planes, dim=1)


def make_stem(
    channels: int, widths: tuple[int, int, int], strides: tuple[int, int, int], width: int
) -> nn.Sequential:
    """[B, channels, S, S] -> [B, width, S / n, S / n], n the product of the strides."""
    layers: list[nn.Module] = []
    for outputs, stride in zip(widths, strides, strict=True):
        layers += [
            nn.Conv2d(channels, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
        channels = outputs
    return nn.Sequential(*layers, nn.Conv2d(channels, width, 1))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):  # narrow layers learn slowly from the usual deviation of 0.02
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
