"""A small LLaVA-shaped model: a vision part, a projector, and a decoder that may drop tokens.

A prompt is token ids in which each picture's place is held by as many `<image>` ids as it has
visual tokens. With an empty schedule the decoder runs as if PyramidDrop did not exist. Nothing of
a request is stored on the model.

Shapes: B rows, T tokens, D width, Q queries that score, N pictures of the batch, S side, V words.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from tokens.pyramid_drop.dropping import (
    Layout,
    Positions,
    Ranking,
    allowed,
    drops_nothing,
    make_layout,
    rank_and_drop,
    take,
)
from tokens.pyramid_drop.flops import DecoderShape
from tokens.pyramid_drop.schedule import Drop, Schedule
from tokens.pyramid_drop.scoring import Scorer
from tokens.vision_language.cache import Cache
from tokens.vision_language.layers import DecoderLayer, Projected, RmsNorm, Rotary, rotary
from tokens.vision_language.scores import Asked, Attended, score_tokens
from tokens.vision_language.vision import PATCH_PX, PatchEmbedding, vision_macs


@dataclass(frozen=True, slots=True)
class VlmSpec:
    """The architecture."""

    words: int  # of the vocabulary
    image_id: int  # the id that holds a visual token's place
    size_px: int = 96  # side of a picture
    channels: tuple[int, int, int] = (32, 64, 128)
    width: int = 128
    layers: int = 8
    heads: int = 4
    key_heads: int = 2
    hidden: int = 320
    rotary_base: float = 10_000.0

    @property
    def visual_tokens(self) -> int:
        """Of one picture."""
        return (self.size_px // PATCH_PX) ** 2

    @property
    def picture_macs(self) -> int:
        """Of one picture in the vision part."""
        return vision_macs(self.size_px, self.channels, self.width)

    @property
    def decoder(self) -> DecoderShape:
        key_width = self.width // self.heads * self.key_heads
        return DecoderShape(self.layers, self.width, self.hidden, key_width)


@dataclass(frozen=True, slots=True)
class Dropping:
    """How a prefill drops visual tokens."""

    schedule: Schedule = field(default_factory=Schedule)
    scorer: Scorer = "last"
    ranking: Ranking = "joint"  # of several pictures in a prompt
    positions: Positions = "compacted"


@dataclass(frozen=True, slots=True)
class Prompts:
    """A batch of prompts, padded on the right.

    `query_BQ` are the places of the tokens that an answer follows: the last of the prompt, and in
    training of every turn; -1 fills up. None: the last of each prompt.
    """

    id_BT: Tensor
    valid_BT: Tensor
    query_BQ: Tensor | None = None
    segment_BT: Tensor | None = None
    seeds: tuple[int, ...] = ()  # of the rows, for the scorer "random"


@dataclass(frozen=True, slots=True)
class Prefilled:
    """The normalised last hidden states, and which tokens they are of."""

    hidden_BTD: Tensor
    layout: Layout
    kept_BT: Tensor  # places in the prompts of the tokens that the last layer reads
    cache: Cache | None
    counts: tuple[Tensor, ...]  # by layer, the visual tokens [B] that it read
    # By layer, of the tokens that it read [B, T]: the picture (0: text), the place in the prompt.
    reads: tuple[tuple[Tensor, Tensor], ...] = ()


class VisionLanguageModel(nn.Module):
    """Pictures and prompts in; hidden states, logits and a cache for further tokens out."""

    def __init__(self, spec: VlmSpec) -> None:
        super().__init__()
        check_spec(spec)
        self.spec = spec
        self.vision = PatchEmbedding(spec.size_px, spec.channels, spec.width)
        self.words = nn.Embedding(spec.words, spec.width)
        self.layers = nn.ModuleList(
            DecoderLayer(spec.width, spec.heads, spec.key_heads, spec.hidden)
            for _ in range(spec.layers)
        )
        self.norm = RmsNorm(spec.width)
        self._initialise()

    def decoder_layers(self) -> Iterator[DecoderLayer]:
        """In their order."""
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            yield layer

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores [..., V] of the next word; the embedding is tied."""
        return nn.functional.linear(hidden, self.words.weight)

    def embed(
        self, prompts: Prompts, pictures: Tensor | None, features: Tensor | None = None
    ) -> Tensor:
        """The tokens [B, T, D] that enter the first layer.

        `pictures` are uint8 [N, S, S, 3], in the order in which the prompts name them. Where the
        vision part has run already, `features` are its results [N, V, D] instead.
        """
        x_BTD: Tensor = self.words(prompts.id_BT)
        visual_BT = prompts.id_BT == self.spec.image_id
        needed = int(visual_BT.sum())
        shown = pictures if features is None else features
        given = 0 if shown is None else len(shown) * self.spec.visual_tokens
        if needed != given:
            raise ValueError(
                f"prompts have places for {needed} visual tokens, their pictures make {given}"
            )
        if shown is None or not needed:
            return x_BTD
        if features is None:
            features = self.vision(shown)
        assert features is not None
        return x_BTD.masked_scatter(visual_BT.unsqueeze(-1), features.to(x_BTD.dtype))

    def prefill(
        self,
        prompts: Prompts,
        pictures: Tensor | None,
        how: Dropping | None = None,
        room: int | None = None,
        features: Tensor | None = None,
    ) -> Prefilled:
        """Run the prompts through the decoder. With `room`, keep a cache for that many tokens.
        `features` replace pictures that the vision part has seen.

        Raises ValueError in one sentence for a schedule that this decoder cannot run.
        """
        how = how or Dropping()
        how.schedule.check(self.spec.layers)
        now = self._begin(prompts, self.embed(prompts, pictures, features))
        cache = None if room is None else Cache(room, now.layout.position_BT.amax(1) + 1)
        before: Attended | None = None
        counts: list[Tensor] = []
        reads: list[tuple[Tensor, Tensor]] = []
        for index, layer in enumerate(self.decoder_layers()):
            projected = layer.project(now.x_BTD)
            drop = how.schedule.at(index)
            if drop is not None and before is not None:
                now, projected = self._drop(drop, how, layer, now, projected, before, prompts)
            x_BTD, q, k, v = layer.prefill(now.x_BTD, projected, now.turn, now.mask)
            now, before = replace(now, x_BTD=x_BTD), Attended(q, k)
            if drop is not None or not counts:
                visual_B, length_B = now.layout.visual_B, now.layout.lengths_B
            counts.append(visual_B)
            reads.append((now.layout.picture_BT, now.kept_BT))
            if cache is not None:
                cache.add(k, v, length_B)
        return Prefilled(
            self.norm(now.x_BTD), now.layout, now.kept_BT, cache, tuple(counts), tuple(reads)
        )

    def decode(self, id_B: Tensor, cache: Cache, positions: Positions = "compacted") -> Tensor:
        """Feed one more token a row; the logits [B, V] of the next. The cache grows by it.

        `positions` are those of the prefill. Raises ValueError when the cache has no room.
        """
        x_B1D = self.words(id_B.unsqueeze(1))
        at = [one.length_B for one in cache.layers]
        next_B = cache.next_B
        cache.advance()
        for layer, one, length_B in zip(self.decoder_layers(), cache.layers, at, strict=True):
            position_B = length_B if positions == "compacted" else next_B
            turn = self._turn(position_B.unsqueeze(1))
            x_B1D = layer.decode(x_B1D, turn, one.k, one.v, length_B)
        return self.logits(self.norm(x_B1D.squeeze(1)))

    def _begin(self, prompts: Prompts, x_BTD: Tensor) -> "_Now":
        visual_BT = (prompts.id_BT == self.spec.image_id) & prompts.valid_BT
        before_BT = (visual_BT.cumsum(dim=1) - 1) // self.spec.visual_tokens
        picture_BT = torch.where(visual_BT, before_BT + 1, 0)
        layout = make_layout(picture_BT, prompts.valid_BT, prompts.segment_BT)
        kept_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device).expand(x_BTD.shape[:2])
        position_BT = layout.position_BT
        if layout.segment_BT is None:  # padding may have any position, so all rows share them
            position_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device).unsqueeze(0)
        return _Now(x_BTD, layout, kept_BT, self._turn(position_BT), _mask(layout))

    def _drop(
        self,
        drop: Drop,
        how: Dropping,
        layer: DecoderLayer,
        now: "_Now",
        projected: Projected,
        before: Attended,
        prompts: Prompts,
    ) -> tuple["_Now", Projected]:
        """The tokens that stay for this layer and those after it."""
        if drops_nothing(now.layout, drop.share, how.ranking):
            return now, projected
        query_BQ = prompts.query_BQ
        if query_BQ is not None:
            query_BQ = find_places(query_BQ, now.kept_BT, now.layout.valid_BT)
        asked = Asked(query_BQ, now.kept_BT, prompts.seeds, drop.share, how.ranking)
        scores_BT = score_tokens(
            how.scorer, layer.attention, projected, now.turn, now.layout, before, asked
        )
        order_BK, layout = rank_and_drop(
            scores_BT, now.layout, drop.share, how.ranking, how.positions
        )
        if how.positions == "compacted" and layout.segment_BT is None:
            turn = now.turn.begin(order_BK.shape[1])
        else:
            turn = self._turn(layout.position_BT)
        kept_BK = now.kept_BT.gather(1, order_BK)
        after = _Now(take(now.x_BTD, order_BK), layout, kept_BK, turn, _mask(layout))
        return after, projected.take(order_BK)

    def _turn(self, position_BT: Tensor) -> Rotary:
        turn = rotary(position_BT, self.spec.width // self.spec.heads, self.spec.rotary_base)
        return turn.to(self.words.weight.dtype)

    def _initialise(self) -> None:
        """Xavier's; outputs into the residual are scaled by the depth, as GPT-2's. Llama's
        deviation of 0.02 is too small for narrow layers, which then learn slowly."""
        deep = 1 / (2 * self.spec.layers) ** 0.5
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                into_residual = name.endswith(("attention.o", "mlp.down"))
                nn.init.xavier_uniform_(module.weight, gain=deep if into_residual else 1.0)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.words.weight, std=0.02)


@dataclass(frozen=True, slots=True)
class _Now:
    """A prefill between two layers."""

    x_BTD: Tensor
    layout: Layout
    kept_BT: Tensor
    turn: Rotary
    mask: Tensor | None


def check_spec(spec: VlmSpec) -> None:
    """Raise ValueError in one sentence for sizes that do not fit each other."""
    if spec.size_px <= 0 or spec.size_px % PATCH_PX:
        raise ValueError(f"pictures of {spec.size_px} pixels; a multiple of {PATCH_PX} is needed")
    if spec.width % spec.heads or spec.width // spec.heads % 2:
        raise ValueError(f"width {spec.width} does not split into {spec.heads} heads of even width")
    if spec.heads % spec.key_heads:
        raise ValueError(f"{spec.heads} query heads cannot share {spec.key_heads} key heads")
    if not 0 <= spec.image_id < spec.words:
        raise ValueError(f"the id {spec.image_id} of visual tokens is not among {spec.words} words")


def _mask(layout: Layout) -> Tensor | None:
    """None where causal attention suffices: rows are padded on the right."""
    if layout.segment_BT is None:
        return None
    own = torch.eye(layout.valid_BT.shape[1], dtype=torch.bool, device=layout.valid_BT.device)
    return (allowed(layout) | own).unsqueeze(1)  # padding reads itself, or softmax has no term


def find_places(query_BQ: Tensor, kept_BT: Tensor, valid_BT: Tensor) -> Tensor:
    """Where tokens of the prompt stand now; -1 stays -1. Text is never dropped."""
    is_it_BQT = (query_BQ.unsqueeze(-1) == kept_BT.unsqueeze(1)) & valid_BT.unsqueeze(1)
    return torch.where(query_BQ >= 0, is_it_BQT.long().argmax(dim=-1), -1)
