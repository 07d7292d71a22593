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
class Whiten:
    """A 2x2 convolution that decorrelates neighbouring pixels, both signs of each component; its
    weights come from training pictures and stay (Page 2019; Jordan, arXiv 2404.00498).
    """


@dataclass(frozen=True, slots=True)
class Halve:
    """2x2 max pooling."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Global pooling, of averages or maxima; without it the head reads the flattened map."""

    of: str = "averages"


Layer = Conv | Residual | Whiten | Halve | Pool


@dataclass(frozen=True, slots=True)
class NetSpec:
    """One member of a pool: its layers and how long and how hard it is trained."""

    name: str
    layers: tuple[Layer, ...]
    epochs: int
    erase: bool  # random erasing: regularises wide nets, starves narrow ones
    label_smoothing: float = 0.0


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


def _blocks(*widths: int) -> tuple[Layer, ...]:
    """Whitening, then for each width a convolution, halving and a second convolution."""
    layers: list[Layer] = [Whiten()]
    for width in widths:
        layers += [Conv(width), Halve(), Conv(width)]
    return (*layers, Pool("maxima"))


COLOUR32_POOL: tuple[NetSpec, ...] = (
    NetSpec("cnn-2m", _blocks(8, 16, 32), 24, erase=False),
    NetSpec("cnn-7m", _blocks(16, 32, 64), 36, erase=False),
    NetSpec("cnn-16m", _blocks(24, 64, 128), 48, erase=False),
    NetSpec("cnn-39m", _blocks(40, 112, 192), 12, erase=False, label_smoothing=0.1),
    NetSpec("cnn-118m", _blocks(64, 256, 256), 8, erase=False, label_smoothing=0.1),
)

POOLS = {"fashion-mnist": GREY28_POOL, "mnist": GREY28_POOL, "cifar10": COLOUR32_POOL}


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
    """uint8 pictures, grey [B, H, W] or colour [B, H, W, 3], in, logits [B, classes] out.

    The net normalises; `mean` and `std` have one value a channel.
    """

    def __init__(
        self,
        spec: NetSpec,
        *,
        size: int,
        classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        channels = len(mean)
        self.scale = [1.0 / (255.0 * one) for one in std]
        self.shift = [-m / s for m, s in zip(mean, std, strict=True)]
        self.body = nn.Sequential(*body_of(spec.layers, channels))
        shape = (1, size, size) if channels == 1 else (1, size, size, channels)
        with torch.no_grad():
            width = self.eval().features(torch.zeros(shape, dtype=torch.uint8)).shape[1]
        self.head = nn.Linear(width, classes)

    def normalise(self, pictures: Tensor) -> Tensor:
        """float32 [B, C, H, W] of mean 0 and deviation 1 a channel."""
        x = pictures.to(torch.float32)
        x_BCHW = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
        scale, shift = torch.tensor(self.scale), torch.tensor(self.shift)
        return x_BCHW * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)

    def features(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.body(self.normalise(pictures)).flatten(1)
        return features

    def forward(self, pictures: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(self.features(pictures))
        return logits_BK


def find_pool(data: str) -> tuple[NetSpec, ...]:
    """The nets for this data set. Raises ValueError for one that has none."""
    if data not in POOLS:
        raise ValueError(f"no CNNs are defined for {data}; there are those of {sorted(POOLS)}")
    return POOLS[data]


def find_spec(name: str, pool: Sequence[NetSpec]) -> NetSpec:
    """The pool's member of that name; ValueError names the members when there is none."""
    for spec in pool:
        if spec.name == name:
            return spec
    raise ValueError(f"no net named {name!r} in the pool; there are {[s.name for s in pool]}")


@torch.no_grad()
def whiten(net: Classifier, pictures: Tensor) -> None:
    """Give a net that begins with `Whiten` its first weights: eigenvectors of the covariance of 2x2
    patches of these pictures over the root of their eigenvalues, each with both signs.
    """
    first = net.body[0]
    assert isinstance(first, nn.Conv2d)
    patches = nn.functional.unfold(net.normalise(pictures), 2)  # [B, C * 4, places]
    x = patches.transpose(1, 2).reshape(-1, patches.shape[1]).double()
    values, vectors = torch.linalg.eigh(torch.cov(x.T))
    half = (vectors / torch.sqrt(values + 5e-4)).T.reshape(-1, *first.weight.shape[1:]).float()
    first.weight.copy_(torch.cat([half, -half]))


def _conv(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _whitening(channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, 8 * channels, 2)
    conv.weight.requires_grad_(False)
    return conv


def body_of(layers: Sequence[Layer], channels: int) -> list[nn.Module]:
    """The layers as modules, for a picture or a map of that many channels."""
    modules: list[nn.Module] = []
    for layer in layers:
        match layer:
            case Conv(width, stride):
                modules.append(_conv(channels, width, stride))
                channels = width
            case Residual():
                modules.append(ResidualBlock(channels))
            case Whiten():
                modules += [_whitening(channels), nn.ReLU(inplace=True)]
                channels *= 8
            case Halve():
                modules.append(nn.MaxPool2d(2))
            case Pool("averages"):
                modules.append(nn.AdaptiveAvgPool2d(1))
            case Pool():
                modules.append(nn.AdaptiveMaxPool2d(1))
    return modules
