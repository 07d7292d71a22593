"""How much a decoder attends to each token: what decides which visual tokens are dropped.

PyramidDrop (arXiv 2410.17247, released code) takes the attention of the prompt's last token, with
the queries and keys of the layer that follows the drop, and averages over heads. The others are
comparators: queries of salient text (as in DUET-VLM and SparseVLM), FastV's, chance, and a regular
grid. Everything here is a function of tensors; nothing carries gradients.

Shapes: B rows, T tokens, Q queries, H query heads, G key heads, d width of a head.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Scorer = Literal["last", "salient", "fastv", "random", "uniform"]
SCORERS: tuple[Scorer, ...] = ("last", "salient", "fastv", "random", "uniform")


@torch.no_grad()
def attention(q_BHQd: Tensor, k_BGTd: Tensor, allowed_BQT: Tensor | None) -> Tensor:
    """Softmax of the scaled products over the allowed tokens, averaged over heads: [B, Q, T].

    Queries and keys are rotated already. Query heads share key heads in groups. In float32.
    `allowed_BQT` None: every query reads all tokens.
    """
    rows, heads, queries, width = q_BHQd.shape
    groups = k_BGTd.shape[1]
    grouped = q_BHQd.reshape(rows, groups, heads // groups * queries, width)
    products = (grouped @ k_BGTd.transpose(-1, -2)).float() * width**-0.5
    products = products.view(rows, heads, queries, -1)
    if allowed_BQT is None:
        whole_BQT: Tensor = products.softmax(dim=-1).mean(dim=1)
        return whole_BQT
    products = products.masked_fill(~allowed_BQT.unsqueeze(1), float("-inf"))
    # A query without any allowed token is padding; its scores are never used.
    scores_BQT: Tensor = products.softmax(dim=-1).nan_to_num(0.0).mean(dim=1)
    return scores_BQT


@torch.no_grad()
def mean_over_queries(scores_BQT: Tensor, counted_BQ: Tensor) -> Tensor:
    """The scores [B, T], averaged over each row's counted queries; 0 without any."""
    weights = counted_BQ.to(scores_BQT.dtype)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1.0)
    return (weights.unsqueeze(-1) * scores_BQT).sum(dim=1)


@torch.no_grad()
def salient_queries(scores_BQT: Tensor, visual_BT: Tensor, text_BQ: Tensor) -> Tensor:
    """Which of the text queries [B, Q] attend to the picture more than text does on average."""
    towards_BQ = (scores_BQT * visual_BT.unsqueeze(1)).sum(dim=-1)
    mean_B1 = (towards_BQ * text_BQ).sum(1, keepdim=True) / text_BQ.sum(1, keepdim=True).clamp(
        min=1
    )
    return text_BQ & (towards_BQ >= mean_B1)


def random_scores(seeds: Sequence[int], tokens: int) -> Tensor:
    """Uniform numbers [B, T]; a row's depend on its own seed alone."""
    # numpy's numbers do not depend on how many follow, so padding changes nothing.
    rows = [np.random.default_rng(seed).random(tokens, np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


@torch.no_grad()
def uniform_scores(group_BT: Tensor, quota_BP: Tensor) -> Tensor:
    """1 for tokens that stand evenly in their group, 0 for the others: [B, T].

    `group_BT`: the group of each token, 0 for tokens outside; `quota_BP`: how many are kept of
    each group.
    """
    place_BT, size_BT = places(group_BT, quota_BP.shape[1])
    quota_BT = quota_BP.gather(1, group_BT)
    size_BT = size_BT.clamp(min=1)
    before = place_BT * quota_BT // size_BT
    after = (place_BT + 1) * quota_BT // size_BT
    return (after > before).float()


def places(group_BT: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Each token's place among those of its group, from 0, and that group's size: [B, T] each."""
    member_BTP = torch.nn.functional.one_hot(group_BT, groups)
    place_BT = (member_BTP.cumsum(dim=1) - 1).gather(2, group_BT.unsqueeze(-1)).squeeze(-1)
    return place_BT, member_BTP.sum(dim=1).gather(1, group_BT)
