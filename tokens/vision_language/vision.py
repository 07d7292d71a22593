"""The vision part of a small vision-language model, and the projector to its decoder's width.

Strided convolutions halve a picture's side three times, so that a visual token stands for 8 x 8
pixels and has seen 15 x 15. Rows and columns have learnt positions. The decoder reads the tokens
row by row.
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
        self.row_positions = nn.Parameter(torch.zeros(side, 1, before))
        self.column_positions = nn.Parameter(torch.zeros(1, side, before))
        self.projector = nn.Sequential(nn.Linear(before, width), nn.GELU(), nn.Linear(width, width))
        nn.init.trunc_normal_(self.row_positions, std=0.2)
        nn.init.trunc_normal_(self.column_positions, std=0.2)

    def forward(self, pictures: Tensor) -> Tensor:
        x_NCSS = pictures.permute(0, 3, 1, 2).float() * (1 / 127.5) - 1.0
        map_NCHW = self.stem(x_NCSS)
        positions_HWC = self.row_positions + self.column_positions
        features_NHWC = map_NCHW.permute(0, 2, 3, 1) + positions_HWC
        tokens_NTD: Tensor = self.projector(features_NHWC.flatten(1, 2))
        return tokens_NTD


def vision_macs(size_px: int, channels: tuple[int, int, int], width: int) -> int:
    """MACs of one picture in the vision part and the projector."""
    side, before, total = size_px, 3, 0
    for after in channels:
        side //= 2
        total += side**2 * 9 * before * after
        before = after
    return total + side**2 * (before * width + width**2)
