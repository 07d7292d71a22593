"""A net's logits for pictures, in batches; those of every exit where it has several."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

BATCH_ROWS = 500
Logits = npt.NDArray[np.float32]


def predict(net: nn.Module, pictures: npt.NDArray[np.uint8]) -> tuple[Logits, ...]:
    """Each exit's logits [N, classes]; one exit for a net that gives plain logits."""
    net.eval()
    with torch.inference_mode():
        parts = [
            split_exits(net(torch.from_numpy(pictures[i : i + BATCH_ROWS].copy())))  # writable
            for i in range(0, len(pictures), BATCH_ROWS)
        ]
    return tuple(torch.cat(one).numpy() for one in zip(*parts, strict=True))


def split_exits(answer: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The logits of every exit."""
    return answer if isinstance(answer, tuple) else (answer,)
