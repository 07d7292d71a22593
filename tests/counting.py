"""Counts the multiply-accumulates of the products and convolutions that torch runs."""

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_products(run: Callable[[], object]) -> int:
    """Of one call; attention is taken apart into its products."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        run()
    return int(counter.get_total_flops()) // 2
