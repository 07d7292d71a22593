"""Exits on the nets of the pools: where they sit, and what reads the features there.

Any net that is a list of layers may have them. The papers' own net with exits is in `lenet`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from training.data.sets import DataSet
from training.nets.building import build_net
from training.nets.exit_net import ExitNet
from training.nets.pools import Classifier, NetSpec, Pool, Whiten

HEAD_CHANNELS = 32
SMALL_MAP = 7  # pixels of a side: up to there a head reads the map as it is
MAX_EXITS = 2  # beside the net's own: what the search for thresholds can take on


@dataclass(frozen=True, slots=True)
class ExitSpec:
    """A backbone, and exits after so many of its layers; its own head is the last exit."""

    backbone: NetSpec
    after: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.backbone.name}-exits"


def choose_places(spec: NetSpec) -> tuple[int, ...]:
    """Two exits of any net: after two fifths and after seven tenths of its layers."""
    layers = sum(not isinstance(layer, Pool) for layer in spec.layers)
    if layers < 2:
        raise ValueError(f"{spec.name} has {layers} layer, exits need a net of 2 or more")
    first = max(1, round(0.4 * layers))
    second = max(first + 1, int(0.7 * layers))
    return (first, second) if second < layers else (first,)


def check_places(spec: NetSpec, after: Sequence[int]) -> tuple[int, ...]:
    """The same places; ValueError in one sentence where exits cannot sit there."""
    layers = sum(not isinstance(layer, Pool) for layer in spec.layers)
    inside = all(0 < place < layers for place in after)
    if not inside or not after or list(after) != sorted(set(after)) or len(after) > MAX_EXITS:
        raise ValueError(
            f"exits after layers {list(after)} of {spec.name}: one or two rising numbers "
            f"from 1 to {layers - 1} are allowed"
        )
    return tuple(after)


def add_exits(
    spec: ExitSpec, data: DataSet, *, trained: Path | None = None, frozen: bool = False
) -> ExitNet:
    """The net with its exits; with `trained`, safetensors of the backbone, from these weights.
    `frozen`: only the new exits learn. ValueError where the weights are another net's.
    """
    net = build_net(spec.backbone, data)
    if trained is not None:
        _load(net, trained, spec.backbone.name)
    segments = _cut(net, spec)
    classes = len(data.source.labels)
    heads: list[nn.Module] = []
    x = net.eval().normalise(torch.from_numpy(data.train.pictures[:1].copy()))
    with torch.no_grad():
        for segment in segments[:-1]:
            x = segment(x)
            heads.append(_make_head(tuple(x.shape[1:]), classes))
    heads.append(nn.Sequential(nn.Flatten(), net.head))
    mean, std = data.source.mean, data.source.std
    return ExitNet(segments, heads, mean=mean, std=std, frozen=frozen)


def _cut(net: Classifier, spec: ExitSpec) -> list[nn.Sequential]:
    """The body in segments, an exit after each. A whitening layer is two modules."""
    ends = [0]
    for layer in spec.backbone.layers:
        ends.append(ends[-1] + (2 if isinstance(layer, Whiten) else 1))
    edges = [0, *(ends[place] for place in spec.after), ends[-1]]
    modules = list(net.body)
    return [nn.Sequential(*modules[start:end]) for start, end in pairwise(edges)]


def _make_head(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """A convolution that halves a large map, then a linear layer on all that is left."""
    channels, height, width = shape
    layers: list[nn.Module] = []
    if max(height, width) > SMALL_MAP:
        layers += [
            nn.Conv2d(channels, HEAD_CHANNELS, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(HEAD_CHANNELS),
            nn.ReLU(inplace=True),
        ]
        channels, height, width = HEAD_CHANNELS, (height + 1) // 2, (width + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, classes))


def _load(net: Classifier, path: Path, name: str) -> None:
    try:
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} has no weights of {name} for this data set") from error
