"""Dropping the visual tokens with the lowest scores, in their order, from batches of any rows.

Rows are padded on the right. A row may have no picture, one, or several, which are ranked together
or each by itself. Text stays.

Shapes: B rows, T tokens, K tokens of the longest row after the drop, P pictures of a row + 1.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

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
    original_BP: Tensor  # tokens of each picture before any drop; of "picture" 0: the text's
    segment_BT: Tensor | None = None

    @property
    def lengths_B(self) -> Tensor:
        return self.valid_BT.sum(dim=1)


def make_layout(picture_BT: Tensor, valid_BT: Tensor, segment_BT: Tensor | None = None) -> Layout:
    """The layout of a batch before any drop, with positions that count what a token reads."""
    pictures = int(picture_BT.max()) + 1 if picture_BT.numel() else 1
    member = torch.nn.functional.one_hot(picture_BT, pictures) * valid_BT.unsqueeze(-1)
    layout = Layout(picture_BT, valid_BT, valid_BT.cumsum(dim=1) - 1, member.sum(1), segment_BT)
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
        return (layout.valid_BT.cumsum(dim=1) - 1).clamp(min=0)
    return (allowed(layout).sum(dim=-1) - 1).clamp(min=0)


def quotas(layout: Layout, share: float, ranking: Ranking) -> Tensor:
    """How many tokens [B, P] are kept of each group; of group 0, the text, all.

    Groups are pictures, or with joint ranking all of a row's pictures as group 1.
    """
    original = layout.original_BP
    if ranking == "joint":
        original = torch.cat([original[:, :1], original[:, 1:].sum(1, keepdim=True)], dim=1)
    kept = (original.double() * share).long()  # rounded down, as in the released code
    return torch.cat([original[:, :1], kept[:, 1:]], dim=1)


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
    quota_BP = quotas(layout, share, ranking)
    group_BT = group_tokens(layout, ranking)
    kept_BT = _kept(scores_BT, group_BT, quota_BP) & layout.valid_BT
    width = int(quota_BP.sum(dim=1).max())
    order_BK = (~kept_BT).long().argsort(dim=1, stable=True)[:, :width]
    after = Layout(
        picture_BT=layout.picture_BT.gather(1, order_BK) * kept_BT.gather(1, order_BK),
        valid_BT=kept_BT.gather(1, order_BK),
        position_BT=layout.position_BT.gather(1, order_BK),
        original_BP=layout.original_BP,
        segment_BT=None if layout.segment_BT is None else layout.segment_BT.gather(1, order_BK),
    )
    if positions == "compacted":
        after = replace(after, position_BT=compact_positions(after))
    return order_BK, after


def drops_nothing(layout: Layout, share: float, ranking: Ranking) -> bool:
    """Whether every row would keep all that it has, so that the layer can run untouched."""
    return bool((quotas(layout, share, ranking).sum(dim=1) >= layout.lengths_B).all())


def take(x_BTD: Tensor, order_BK: Tensor) -> Tensor:
    """The tokens [B, K, D] at these places."""
    return x_BTD.gather(1, order_BK.unsqueeze(-1).expand(-1, -1, x_BTD.shape[-1]))


def _kept(scores_BT: Tensor, group_BT: Tensor, quota_BP: Tensor) -> Tensor:
    """Which tokens are among the best of their group, as many as its quota; text is all kept."""
    best_BT = scores_BT.argsort(dim=1, descending=True, stable=True)
    place_BT, _ = places(group_BT.gather(1, best_BT), quota_BP.shape[1])
    rank_BT = torch.empty_like(place_BT).scatter_(1, best_BT, place_BT)
    return (rank_BT < quota_BP.gather(1, group_BT)) | (group_BT == 0)
