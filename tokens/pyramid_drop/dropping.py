"""Dropping the visual tokens with the lowest scores, in their order, from batches of any rows.

Rows are padded on the right. A row may have no picture, one, or several, which are ranked together
or each by itself. Text stays.

Shapes: B rows, T tokens, K tokens of the longest row after the drop, P pictures of a row + 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tokens.pyramid_drop.schedule import keep_count
from tokens.pyramid_drop.scoring import places

Ranking = Literal["joint", "each"]
Positions = Literal["compacted", "kept"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What each token of a padded batch is.

    A segment lets several questions share a picture: tokens of segment 0 are read by all, tokens
    of another segment only by their own. Without segments every token reads all before it.
    """

    picture_BT: Tensor  # 0 for text and padding, else the number of the row's picture, from 1
    valid_BT: Tensor  # False for padding
    position_BT: Tensor  # for rotary embeddings
    original: tuple[tuple[int, ...], ...]  # by row, before any drop: text tokens, each picture's
    lengths: tuple[int, ...]  # of the rows, without padding
    segment_BT: Tensor | None = None

    @property
    def lengths_B(self) -> Tensor:
        return torch.tensor(self.lengths, device=self.valid_BT.device)

    @property
    def visual_B(self) -> Tensor:
        """Visual tokens of each row."""
        counts = [size - row[0] for size, row in zip(self.lengths, self.original, strict=True)]
        return torch.tensor(counts, device=self.valid_BT.device)

    @property
    def is_full(self) -> bool:
        """Whether no row has padding."""
        return min(self.lengths) == self.valid_BT.shape[1]


def make_layout(picture_BT: Tensor, valid_BT: Tensor, segment_BT: Tensor | None = None) -> Layout:
    """The layout of a batch before any drop, with positions that count what a token reads."""
    numbers_BT = np.where(valid_BT.cpu().numpy(), picture_BT.cpu().numpy(), -1)
    pictures = max(1, int(numbers_BT.max(initial=0)) + 1)
    original = tuple(
        tuple(np.bincount(row[row >= 0], minlength=pictures).tolist()) for row in numbers_BT
    )
    lengths = tuple(sum(row) for row in original)
    layout = Layout(picture_BT, valid_BT, picture_BT, original, lengths, segment_BT)
    return replace(layout, position_BT=compact_positions(layout))


def allowed(layout: Layout) -> Tensor:
    """Which tokens [B, T, T] each token reads: those before it in its segment, and itself."""
    tokens = layout.valid_BT.shape[1]
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=layout.valid_BT.device).tril()
    reads = causal & layout.valid_BT.unsqueeze(1)
    if layout.segment_BT is not None:
        own = layout.segment_BT.unsqueeze(1) == layout.segment_BT.unsqueeze(2)
        reads = reads & (own | (layout.segment_BT == 0).unsqueeze(1))
    return reads


def allowed_for(layout: Layout, query_BQ: Tensor) -> Tensor:
    """The rows [B, Q, T] of `allowed` of the tokens at these places."""
    places = torch.arange(layout.valid_BT.shape[1], device=query_BQ.device)
    reads = (places <= query_BQ.unsqueeze(-1)) & layout.valid_BT.unsqueeze(1)
    if layout.segment_BT is not None:
        own_BQ1 = layout.segment_BT.gather(1, query_BQ).unsqueeze(-1)
        segment_B1T = layout.segment_BT.unsqueeze(1)
        reads = reads & ((segment_B1T == own_BQ1) | (segment_B1T == 0))
    return reads


def compact_positions(layout: Layout) -> Tensor:
    """Positions [B, T] without gaps: how many tokens a token reads, less one."""
    if layout.segment_BT is None:
        rows, tokens = layout.valid_BT.shape
        place_BT = torch.arange(tokens, device=layout.valid_BT.device).expand(rows, tokens)
        if layout.is_full:
            return place_BT
        return torch.minimum(place_BT, (layout.lengths_B - 1).clamp(min=0).unsqueeze(1))
    return (allowed(layout).sum(dim=-1) - 1).clamp(min=0)


def quotas(layout: Layout, share: float, ranking: Ranking) -> list[list[int]]:
    """How many tokens are kept of each row's groups; of group 0, the text, all.

    Groups are pictures, or with joint ranking all of a row's pictures as group 1.
    """
    found = []
    for text, *pictures in layout.original:
        sizes = [sum(pictures)] if ranking == "joint" else pictures
        found.append([text, *(keep_count(size, share) for size in sizes)])
    return found


def group_tokens(layout: Layout, ranking: Ranking) -> Tensor:
    """The group [B, T] of each token; 0 is text and padding."""
    return layout.picture_BT.clamp(max=1) if ranking == "joint" else layout.picture_BT


@torch.no_grad()
def rank_and_drop(
    scores_BT: Tensor, layout: Layout, share: float, ranking: Ranking, positions: Positions
) -> tuple[Tensor, Layout]:
    """The places [B, K] of the tokens that stay, in their order, and what they are.

    Of equal scores the earlier token stays.
    """
    quota = quotas(layout, share, ranking)
    lengths = tuple(sum(row) for row in quota)
    width = max(lengths)
    kept_BT = _kept(scores_BT, layout, quota, ranking)
    order_BK = kept_BT.logical_not().to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    after = Layout(
        picture_BT=layout.picture_BT.gather(1, order_BK),
        valid_BT=layout.valid_BT.new_ones(order_BK.shape),
        position_BT=layout.position_BT,
        original=layout.original,
        lengths=lengths,
        segment_BT=None if layout.segment_BT is None else layout.segment_BT.gather(1, order_BK),
    )
    if not after.is_full:
        place_K = torch.arange(width, device=order_BK.device)
        valid_BK = place_K < after.lengths_B.unsqueeze(1)
        after = replace(after, valid_BT=valid_BK, picture_BT=after.picture_BT * valid_BK)
    if positions == "compacted":
        position_BK = compact_positions(after)
    else:
        position_BK = layout.position_BT.gather(1, order_BK)
    return order_BK, replace(after, position_BT=position_BK)


def drops_nothing(layout: Layout, share: float, ranking: Ranking) -> bool:
    """Whether every row would keep all that it has, so that the layer can run untouched."""
    quota = quotas(layout, share, ranking)
    return all(sum(row) >= size for row, size in zip(quota, layout.lengths, strict=True))


def take(x_BTD: Tensor, order_BK: Tensor) -> Tensor:
    """The tokens [B, K, D] at these places."""
    rows, tokens, width = x_BTD.shape
    if rows == 1:
        return x_BTD.index_select(1, order_BK[0])
    start_B1 = torch.arange(0, rows * tokens, tokens, device=order_BK.device).unsqueeze(1)
    flat = (order_BK + start_B1).flatten()  # whole tokens are copied faster than gathered
    return x_BTD.flatten(0, 1).index_select(0, flat).view(rows, -1, width)


def _kept(
    scores_BT: Tensor, layout: Layout, quota: Sequence[Sequence[int]], ranking: Ranking
) -> Tensor:
    """Which tokens are among the best of their group, as many as its quota; text is all kept."""
    if len({tuple(row[1:]) for row in quota}) == 1 and len(quota[0]) == 2:
        return _keep_as_many(scores_BT, layout, quota[0][1])
    quota_BP = torch.tensor(quota, device=scores_BT.device)
    group_BT = group_tokens(layout, ranking)
    best_BT = scores_BT.argsort(dim=1, descending=True, stable=True)
    place_BT, _ = places(group_BT.gather(1, best_BT), quota_BP.shape[1])
    rank_BT = torch.empty_like(place_BT).scatter_(1, best_BT, place_BT)
    return ((rank_BT < quota_BP.gather(1, group_BT)) | (group_BT == 0)) & layout.valid_BT


def _keep_as_many(scores_BT: Tensor, layout: Layout, count: int) -> Tensor:
    """The same where every row keeps as many of one group."""
    text_BT = layout.picture_BT == 0
    ranked_BT = scores_BT.masked_fill(text_BT, float("-inf"))
    best_BK = ranked_BT.argsort(dim=1, descending=True, stable=True)[:, :count]
    kept_BT = text_BT if layout.is_full else text_BT & layout.valid_BT
    return kept_BT.scatter(1, best_BK, True)
