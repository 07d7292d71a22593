"""The pools of small CNNs that cascades are chosen from, each a declared list of layers.

A pool has no gaps in cost, so that the fair rival of a cascade (the cheapest single model of the
same accuracy) always stands beside it. Training, export and selection live elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Conv:
    """A 3x3 convolution, batch normalisation and ReLU; `stride` 2 halves the picture."""

    channels: int
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Residual:
    """Two 3x3 convolutions of the incoming width, added to their input."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Global average pooling; without it the head reads the flattened map."""


Layer = Conv | Residual | Pool


@dataclass(frozen=True, slots=True)
class NetSpec:
    """One member of a pool: its layers and how long and how hard it is trained."""

    name: str
    layers: tuple[Layer, ...]
    epochs: int
    erase: bool  # random erasing: regularises wide nets, starves narrow ones


GREY28_POOL: tuple[NetSpec, ...] = (
    NetSpec("cnn-0.3m", (Conv(16, 2), Conv(32, 2)), 50, erase=False),
    NetSpec("cnn-0.7m", (Conv(16, 2), Conv(32, 2), Conv(32)), 50, erase=False),
    NetSpec("cnn-1m", (Conv(16, 2), Conv(16), Conv(32, 2), Conv(32)), 50, erase=False),
    NetSpec("cnn-3m", (Conv(32, 2), Conv(32), Conv(64, 2)), 50, erase=False),
    NetSpec("cnn-5m", (Conv(32, 2), Conv(32), Conv(64, 2), Conv(64)), 50, erase=False),
    NetSpec("cnn-8m", (Conv(32, 2), Residual(), Conv(64, 2), Residual()), 45, erase=True),
    NetSpec("cnn-20m", (Conv(32), Conv(64, 2), Residual(), Conv(64, 2), Pool()), 45, erase=True),
    NetSpec(
        "cnn-36m",
        (Conv(32), Conv(64, 2), Residual(), Conv(128, 2), Residual(), Pool()),
        45,
        erase=True,
    ),
)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels, 1)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.relu(x_BCHW + self.second(self.first(x_BCHW)))


class Classifier(nn.Module):
    """uint8 grey pictures [B, H, W] in, logits [B, classes] out; the net normalises."""

    def __init__(self, spec: NetSpec, *, size: int, classes: int, mean: float, std: float) -> None:
        super().__init__()
        self.scale = 1.0 / (255.0 * std)
        self.shift = -mean / std
        self.body = nn.Sequential(*_body(spec.layers))
        with torch.no_grad():
            width = self.eval().features(torch.zeros(1, size, size, dtype=torch.uint8)).shape[1]
        self.head = nn.Linear(width, classes)

    def features(self, pictures_BHW: Tensor) -> Tensor:
        x_BHW = pictures_BHW.to(torch.float32) * self.scale + self.shift
        features: Tensor = self.body(x_BHW.unsqueeze(1)).flatten(1)
        return features

    def forward(self, pictures_BHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(self.features(pictures_BHW))
        return logits_BK


def find_spec(name: str, pool: Sequence[NetSpec] = GREY28_POOL) -> NetSpec:
    """The pool's member of that name; ValueError names the members when there is none."""
    for spec in pool:
        if spec.name == name:
            return spec
    raise ValueError(f"no net named {name!r} in the pool; there are {[s.name for s in pool]}")


def _conv(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _body(layers: Sequence[Layer]) -> list[nn.Module]:
    modules: list[nn.Module] = []
    channels = 1
    for layer in layers:
        match layer:
            case Conv(width, stride):
                modules.append(_conv(channels, width, stride))
                channels = width
            case Residual():
                modules.append(ResidualBlock(channels))
            case Pool():
                modules.append(nn.AdaptiveAvgPool2d(1))
    return modules
