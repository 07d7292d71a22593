"""The vision part of a small vision-language model, and the projector to its decoder's width.

Strided convolutions halve a picture's side three times, so that a visual token stands for 8 x 8
pixels and has seen 15 x 15; each has a learnt position in the grid. The decoder reads them row by
row.
"""

import torch
from torch import Tensor, nn

PATCH_PX = 8


class PatchEmbedding(nn.Module):
    """uint8 pictures [N, S, S, 3] in, visual tokens [N, (S / 8)², D] out."""

    def __init__(self, size_px: int, channels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for after in channels:
            layers += [
                nn.Conv2d(before, after, 3, 2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
            before = after
        self.stem = nn.Sequential(*layers)
        side = size_px // PATCH_PX
        self.positions = nn.Parameter(torch.zeros(side * side, before))
        self.projector = nn.Sequential(nn.Linear(before, width), nn.GELU(), nn.Linear(width, width))
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, pictures: Tensor) -> Tensor:
        x_NCSS = pictures.permute(0, 3, 1, 2).float() * (1 / 127.5) - 1.0
        map_NCHW = self.stem(x_NCSS)
        features = map_NCHW.flatten(2).transpose(1, 2) + self.positions
        tokens_NTD: Tensor = self.projector(features)
        return tokens_NTD
