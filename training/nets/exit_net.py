"""A net that may answer at several exits: trunk segments in order, a head after each.

After BranchyNet (arXiv 1709.01686). The pipeline kind `exits` serves such a net. `lenet` and
`exit_backbone` place the exits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ExitNet(nn.Module):
    """uint8 pictures, grey [B, H, W] or colour [B, H, W, 3], in, each exit's logits [B, K] out.

    The net normalises; `mean` and `std` have one value a channel, of pixels in [0, 1]. A `frozen`
    one keeps its trunk and its last head as they are: only the earlier heads learn.
    """

    def __init__(
        self,
        segments: Sequence[nn.Module],
        heads: Sequence[nn.Module],
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        frozen: bool = False,
    ) -> None:
        super().__init__()
        assert len(segments) == len(heads), "a head a segment"
        self.scale = [1.0 / (255.0 * one) for one in std]
        self.shift = [-m / s for m, s in zip(mean, std, strict=True)]
        self.segments = nn.ModuleList(segments)
        self.heads = nn.ModuleList(heads)
        self.frozen = frozen
        if frozen:
            for module in self._kept():
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> "ExitNet":
        super().train(mode)
        if self.frozen:
            for module in self._kept():
                module.eval()  # batch norms keep their statistics
        return self

    def normalise(self, pictures: Tensor) -> Tensor:
        """float32 [B, C, H, W]."""
        x = pictures.to(torch.float32)
        x_BCHW = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
        scale, shift = torch.tensor(self.scale), torch.tensor(self.shift)
        return x_BCHW * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        x = self.normalise(pictures)
        exits = []
        for segment, head in zip(self.segments, self.heads, strict=True):
            x = segment(x)
            exits.append(head(x))
        return tuple(exits)

    def _kept(self) -> list[nn.Module]:
        return [*self.segments, self.heads[-1]]
