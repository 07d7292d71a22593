"""Weights in half precision, as routes ship them for others to train on from."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


@torch.no_grad()
def round_to_half(net: nn.Module, path: Path) -> Path:
    """Round the net's float32 weights to float16, and write them as such; returns `path`.

    The net keeps float32 with the rounded values, so what is exported from it is the same net.
    """
    weights = net.state_dict()
    rounded = {
        name: value.half().contiguous() if value.dtype == torch.float32 else value.contiguous()
        for name, value in weights.items()
    }
    for name, value in rounded.items():
        weights[name].copy_(value)
    save_file(rounded, path)
    return path
