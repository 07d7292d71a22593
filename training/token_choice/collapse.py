"""Whether gates collapsed: how evenly a picture's tokens choose, and how much pictures differ.

The paper's figure 8 shows that without the entropy loss and the diversity loss all tokens make one
choice (arXiv 2312.10193).

Shapes: N pictures, T tokens, M modules.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tokens.acm.network import AcmVit
from training.data.sets import Split

BATCH_ROWS = 250
Choices = npt.NDArray[np.int64]  # [N, T, M]


@dataclass(frozen=True, slots=True)
class Spread:
    """`entropy`: of a picture's choices over that of an even spread, mean of pictures and modules,
    0 to 1. `difference`: the mean difference of two pictures' executed shares of all learners.
    `commonest`: the share of all tokens that make their module's most common choice."""

    entropy: float
    difference: float
    commonest: float


def describe_collapse(net: AcmVit, split: Split, beta: float) -> Spread:
    """Of the net's choices for these pictures."""
    smallest = [module.gate.smallest for module in net.modules_in_order()]
    return measure_spread(choose(net, split, beta), smallest, net.settings.learners)


@torch.no_grad()
def choose(net: AcmVit, split: Split, beta: float) -> Choices:
    """The number of learners [N, T, M] that the net's gates choose."""
    net.eval()
    chosen: list[Choices] = []
    for start in range(0, len(split.labels), BATCH_ROWS):
        pictures = torch.from_numpy(split.pictures[start : start + BATCH_ROWS].copy())  # writable
        _, choices = net(pictures, torch.full((len(pictures),), beta))
        chosen.append(np.stack([choice.learners_BT.numpy() for choice in choices], axis=2))
    return np.concatenate(chosen)


def measure_spread(chosen_NTM: Choices, smallest: Sequence[int], learners: int) -> Spread:
    """Of these choices, where module m may choose `smallest[m]` to `learners`."""
    entropies: list[float] = []
    commonest: list[float] = []
    for place, least in enumerate(smallest):
        of_module = chosen_NTM[:, :, place]
        shares = np.stack(
            [(of_module == count).mean(axis=1) for count in range(least, learners + 1)], axis=1
        )
        logs = np.log(np.where(shares > 0, shares, 1.0))
        even = np.log(max(2, learners + 1 - least))  # one choice has no entropy
        entropies.append(float(-(shares * logs).sum(axis=1).mean() / even))
        commonest.append(float(shares.mean(axis=0).max()))
    executed_N = chosen_NTM.mean(axis=(1, 2)) / learners
    return Spread(float(np.mean(entropies)), mean_difference(executed_N), float(np.mean(commonest)))


def mean_difference(values_N: npt.NDArray[np.float64]) -> float:
    """Of two of these values, which may be the same one."""
    count = len(values_N)
    weights = 2 * np.arange(count) - count + 1
    return max(0.0, float(2 * (weights * np.sort(values_N)).sum() / count**2))  # rounding
