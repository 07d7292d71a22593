"""The scores by which a decoder layer's visual tokens are ranked, from that layer's own parts.

Keys are those that the layer computes for its tokens anyway. FastV's scores come from the layer
before, as in its released code.

Shapes: B rows, T tokens, Q queries, P pictures of a row + 1.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tokens.pyramid_drop import scoring
from tokens.pyramid_drop.dropping import Layout, Ranking, allowed_for, group_tokens, quotas
from tokens.pyramid_drop.scoring import Scorer
from tokens.vision_language.layers import Projected, Rotary, rotate


class Queries(Protocol):
    """What scores need of a layer's attention."""

    def q(self, x_BQD: Tensor, /) -> Tensor:
        """Queries [B, Q, H * d] before rotation."""
        ...

    def split(self, x_BTD: Tensor, /) -> Tensor:
        """Heads apart: [B, heads, T, d]."""
        ...


@dataclass(frozen=True, slots=True)
class Attended:
    """Rotated queries [B, H, T, d] and keys [B, G, T, d] of a layer that has run."""

    q: Tensor
    k: Tensor


@dataclass(frozen=True, slots=True)
class Asked:
    """What scores may depend on beside the layer."""

    # Places of the tokens that an answer follows, -1 fills up; None: the last token of every row.
    query_BQ: Tensor | None
    kept_BT: Tensor  # places that the tokens had in the prompt
    seeds: tuple[int, ...]
    share: float
    ranking: Ranking


@torch.no_grad()
def score_tokens(
    scorer: Scorer,
    attention: Queries,
    projected: Projected,
    turn: Rotary,
    layout: Layout,
    before: Attended,
    asked: Asked,
) -> Tensor:
    """Scores [B, T] of all tokens; those of text are not used."""
    if scorer == "random":
        return _at_random(asked)
    if scorer == "uniform":
        quota_BP = torch.tensor(
            quotas(layout, asked.share, asked.ranking), device=layout.picture_BT.device
        )
        return scoring.uniform_scores(group_tokens(layout, asked.ranking), quota_BP)
    if scorer == "last" and asked.query_BQ is None:
        return _score_by_last(attention, projected, turn, layout)
    query_BQ = layout.lengths_B.unsqueeze(1) - 1 if asked.query_BQ is None else asked.query_BQ
    if scorer == "salient":
        tokens = layout.valid_BT.shape[1]
        query_BQ = torch.arange(tokens, device=query_BQ.device).expand(layout.valid_BT.shape)
    counted_BQ, query_BQ = query_BQ >= 0, query_BQ.clamp(min=0)
    allowed_BQT = allowed_for(layout, query_BQ)
    if scorer == "fastv":
        at = query_BQ[:, None, :, None].expand(-1, before.q.shape[1], -1, before.q.shape[3])
        scores_BQT = scoring.attention(before.q.gather(2, at), before.k, allowed_BQT)
        return scoring.mean_over_queries(scores_BQT, counted_BQ)
    scores_BQT = scoring.attention(
        _queries(attention, projected, turn, query_BQ),
        rotate(attention.split(projected.key_BTD), turn),
        allowed_BQT,
    )
    if scorer == "salient":
        visual_BT = layout.picture_BT > 0
        text_BT = layout.valid_BT & ~visual_BT & _after_a_picture(visual_BT)
        counted_BQ = scoring.salient_queries(scores_BQT, visual_BT, text_BT)
    return scoring.mean_over_queries(scores_BQT, counted_BQ)


def _score_by_last(
    attention: Queries, projected: Projected, turn: Rotary, layout: Layout
) -> Tensor:
    """By the last token of each row, which reads all of them; few operations, for lone rows."""
    keys = rotate(attention.split(projected.key_BTD), turn)
    if layout.is_full:
        last = Rotary(turn.cos[:, :, -1:], turn.sin[:, :, -1:])
        q_BH1d = rotate(attention.split(attention.q(projected.normed_BTD[:, -1:])), last)
        return scoring.attention(q_BH1d, keys, None).squeeze(1)
    q_BH1d = _queries(attention, projected, turn, layout.lengths_B.unsqueeze(1) - 1)
    return scoring.attention(q_BH1d, keys, layout.valid_BT.unsqueeze(1)).squeeze(1)


def _queries(attention: Queries, projected: Projected, turn: Rotary, query_BQ: Tensor) -> Tensor:
    """Rotated queries [B, H, Q, d] of the tokens at these places."""
    places = query_BQ.unsqueeze(-1)
    normed = projected.normed_BTD
    chosen_BQD = normed.gather(1, places.expand(-1, -1, normed.shape[-1]))
    turns = Rotary(*(_pick(one.expand(len(normed), -1, -1, -1), places)
                     for one in (turn.cos, turn.sin)))  # fmt: skip
    return rotate(attention.split(attention.q(chosen_BQD)), turns)


def _pick(x_B1Td: Tensor, places_BQ1: Tensor) -> Tensor:
    x_BTd = x_B1Td.squeeze(1)
    return x_BTd.gather(1, places_BQ1.expand(-1, -1, x_BTd.shape[-1])).unsqueeze(1)


def _after_a_picture(visual_BT: Tensor) -> Tensor:
    """Text before every picture sees none, so it cannot say what matters in one."""
    return visual_BT.cumsum(dim=1) > 0


def _at_random(asked: Asked) -> Tensor:
    tokens = int(asked.kept_BT.max()) + 1
    if len(asked.seeds) != len(asked.kept_BT):
        raise ValueError(f"{len(asked.seeds)} seeds for {len(asked.kept_BT)} prompts")
    scores = scoring.random_scores(asked.seeds, tokens).to(asked.kept_BT.device)
    return scores.gather(1, asked.kept_BT)
