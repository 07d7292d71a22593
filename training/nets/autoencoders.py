"""Autoencoders that convert a picture, and classifiers that stop at the code.

The dense one is of CBNet's shape (arXiv 2403.07036): 784-512-384-32-784, hidden ReLUs, a sigmoid at
the end. The convolutional one begins with two strided convolutions. The encoder-only classifier is
from the authors' next paper (EncodeNet, arXiv 2404.13770): it has no decoder.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.nets.pools import Conv, body_of


@dataclass(frozen=True, slots=True)
class Shape:
    """An autoencoder's layers: strided 3x3 convolutions, if any, then linear ones to the code."""

    convolutions: tuple[int, ...]  # channels of each, every one halves the picture
    hidden: tuple[int, ...]  # widths of linear layers between them and the code
    code: int


DENSE = Shape((), (512, 384), 32)
CONVOLUTIONAL = Shape((16, 32), (), 32)


class Autoencoder(nn.Module):
    """uint8 pictures [B, H, W] in, converted pictures [B, H, W] in [0, 1] out."""

    def __init__(self, shape: Shape, size: int) -> None:
        super().__init__()
        self.size = size
        self.encoder = nn.Sequential(*_encoder(shape, size))
        self.decoder = nn.Sequential(nn.Linear(shape.code, size * size), nn.Sigmoid())

    def forward(self, pictures: Tensor) -> Tensor:
        return self.convert(pictures)[0]

    def convert(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The converted pictures, and the mean absolute activity of the hidden layers."""
        x = to_unit(pictures)
        activity = torch.zeros(())
        for layer in self.encoder:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                activity = activity + x.abs().flatten(1).sum(1).mean()
        converted: Tensor = self.decoder(x)
        return converted.view(-1, self.size, self.size), activity


class EncoderClassifier(nn.Module):
    """uint8 pictures [B, H, W] in, logits [B, K] out, straight from an autoencoder's code."""

    def __init__(self, encoder: nn.Sequential, classes: int, *, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.encoder = encoder.requires_grad_(not frozen)
        code = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)][-1]
        self.head = nn.Linear(code.out_features, classes)

    def train(self, mode: bool = True) -> "EncoderClassifier":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()  # its batch norms stay as they are
        return self

    def forward(self, pictures: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(self.encoder(to_unit(pictures)))
        return logits_BK


class Mlp(nn.Module):
    """uint8 pictures [B, H, W] in, logits [B, K] out: linear layers and ReLUs, nothing else."""

    def __init__(self, widths: tuple[int, ...], size: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        before = size * size
        for width in widths:
            layers += [nn.Linear(before, width), nn.ReLU()]
            before = width
        self.body = nn.Sequential(*layers, nn.Linear(before, classes))

    def forward(self, pictures: Tensor) -> Tensor:
        logits_BK: Tensor = self.body(to_unit(pictures))
        return logits_BK


def to_unit(pictures: Tensor) -> Tensor:
    """float32 [B, 1, H, W] in [0, 1]."""
    return pictures.to(torch.float32).unsqueeze(1) * (1.0 / 255.0)


def _encoder(shape: Shape, size: int) -> list[nn.Module]:
    convolutions = tuple(Conv(channels, 2) for channels in shape.convolutions)
    layers = [layer for block in body_of(convolutions, 1) for layer in block.children()]
    with torch.no_grad():
        sample = nn.Sequential(*layers).eval()(torch.zeros(1, 1, size, size))
    before = sample.numel()
    layers.append(nn.Flatten())
    for width in (*shape.hidden, shape.code):
        layers += [nn.Linear(before, width), nn.ReLU()]
        before = width
    return layers[:-1]  # nothing between the code and the decoder
