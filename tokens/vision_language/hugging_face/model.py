"""PyramidDrop for models of Hugging Face transformers: LLaVA-1.5, LLaVA-NeXT and Qwen2.5-VL.

The adapter walks through the decoder's layers itself and calls them as transformers does. Only a
layer before which tokens are dropped runs in two parts, since its keys give the scores. Nothing is
patched and nothing of a request is stored on the model. Batches may be padded on either side; the
adapter moves padding to the right. Rows may have no picture, one or several.

Weights come as safetensors from a directory or a hub name. Attention is "sdpa" or "eager".

Shapes: B rows, T tokens, D width, P axes of positions (3 for Qwen2.5-VL, else 1), V words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokens.pyramid_drop.dropping import (
    Layout,
    drops_nothing,
    make_layout,
    rank_and_drop,
    take,
)
from tokens.pyramid_drop.schedule import Drop
from tokens.vision_language.hugging_face.layers import LayerParts
from tokens.vision_language.layers import Rotary, make_rotary
from tokens.vision_language.model import Dropping
from tokens.vision_language.scores import Asked, Attended, score_tokens

MODELS = ("llava", "llava_next", "qwen2_5_vl")
DECODERS = ("llama", "mistral", "qwen2", "qwen2_5_vl_text")
ATTENTION = ("sdpa", "eager")
PICTURE_INPUTS = ("pixel_values", "image_sizes", "image_grid_thw")


class UnusableModelError(ValueError):
    """A model that cannot be served. Its text is one sentence."""


@dataclass(slots=True)
class Generation:
    """A batch that generates: the last token's logits [B, V], and what the next token reads.

    `valid_LBS` has an entry a layer, for layers after a drop hold fewer tokens.
    """

    logits_BV: Tensor
    cache: Any  # a DynamicCache of transformers
    valid_LBS: list[Tensor]
    next_B: Tensor  # the next token's position where positions are kept
    compacted: bool
    counts: tuple[Tensor, ...]  # by layer, the visual tokens [B] that it read
    hidden_BTD: Tensor  # normalised, after the last layer
    kept_BT: Tensor  # the places that those tokens had among the row's own
    # By layer, of the tokens that it read [B, T]: the picture (0: text), the place in the prompt.
    reads: tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True, slots=True)
class _Now:
    """A prefill between two layers."""

    x_BTD: Tensor
    layout: Layout
    kept_BT: Tensor
    position_PBT: Tensor
    turn: tuple[Tensor, Tensor]
    mask: Tensor | None

    @property
    def rotary(self) -> Rotary:
        return make_rotary(*self.turn)


class HuggingFaceVlm:
    """Prefill with a schedule, and decoding, for a loaded model."""

    def __init__(self, model: Any) -> None:
        """Raises ValueError in one sentence for a model that it cannot run."""
        check_model(model)
        self.model = model
        self.text = model.model.language_model
        self.three_axes: bool = model.config.model_type == "qwen2_5_vl"

    @torch.no_grad()
    def prefill(
        self,
        inputs: Mapping[str, Tensor],
        how: Dropping | None = None,
        seeds: Sequence[int] = (),
        features: Sequence[Tensor] | None = None,
    ) -> Generation:
        """Run prompts, as a processor of transformers makes them: `input_ids` and
        `attention_mask` [B, T], and the model's picture inputs. Where the vision part has run
        already, `features` are its results, [V, D] for each picture; Qwen2.5-VL needs
        `image_grid_thw` also then.

        Raises ValueError in one sentence for a schedule or positions that it cannot run, and where
        pictures and their places in the prompts differ.
        """
        how = how or self.default_dropping()
        self._check(how)
        from transformers import DynamicCache

        cache = DynamicCache()
        now, next_B = self._begin(inputs, features)
        before: Attended | None = None
        counts, valid_LBS, reads = [], [], []
        for index, layer in enumerate(self.text.layers):
            drop = how.schedule.at(index)
            if drop is not None and not drops_nothing(now.layout, drop.share, how.ranking):
                assert before is not None
                asked = Asked(None, now.kept_BT, tuple(seeds), drop.share, how.ranking)
                now, before = self._drop_and_run(index, drop, how, now, before, asked, cache)
            elif self._is_scored_next(index, how, now):
                parts = LayerParts(layer)
                now, before = self._finish(index, now, parts.project(now.x_BTD), cache)
            else:
                now, before = self._run_whole(index, now, cache)
            counts.append(now.layout.visual_B)
            valid_LBS.append(now.layout.valid_BT)
            reads.append((now.layout.picture_BT, now.kept_BT))
        hidden_BTD = self.text.norm(now.x_BTD)
        last_B1D = take(hidden_BTD, now.layout.lengths_B.unsqueeze(1) - 1)
        return Generation(
            logits_BV=self.model.lm_head(last_B1D).squeeze(1),
            cache=cache,
            valid_LBS=valid_LBS,
            next_B=next_B,
            compacted=how.positions == "compacted" and not self.three_axes,
            counts=tuple(counts),
            hidden_BTD=hidden_BTD,
            kept_BT=now.kept_BT,
            reads=tuple(reads),
        )

    @torch.no_grad()
    def see(self, shown: Mapping[str, Tensor]) -> list[Tensor]:
        """The visual tokens [V, D] of each picture, from the model's picture inputs."""
        found = self.model.get_image_features(**shown, return_dict=True).pooler_output
        return list(found)

    @torch.no_grad()
    def decode(self, id_B: Tensor, state: Generation) -> Tensor:
        """Feed one more token a row; the logits [B, V] of the next. The state grows by it."""
        x_B1D = self.text.embed_tokens(id_B.unsqueeze(1))
        for index, layer in enumerate(self.text.layers):
            valid_BS = state.valid_LBS[index]
            position_B = valid_BS.sum(dim=1) if state.compacted else state.next_B
            valid_BS = torch.cat([valid_BS, valid_BS.new_ones(len(id_B), 1)], dim=1)
            state.valid_LBS[index] = valid_BS
            x_B1D = layer(
                x_B1D,
                attention_mask=self._decoding_mask(valid_BS, x_B1D.dtype),
                position_embeddings=self.turn_at(x_B1D, position_B.view(1, -1, 1)),
                cache=state.cache,
            )
        state.next_B = state.next_B + 1
        state.logits_BV = self.model.lm_head(self.text.norm(x_B1D)).squeeze(1)
        return state.logits_BV

    def default_dropping(self) -> Dropping:
        """No drops; positions that the model allows."""
        return Dropping(positions="kept") if self.three_axes else Dropping()

    def _check(self, how: Dropping) -> None:
        how.schedule.check(len(self.text.layers))
        if self.three_axes and how.positions == "compacted" and how.schedule.drops:
            raise ValueError(
                "positions of Qwen2.5-VL count rows and columns of a picture, so they can only be "
                "kept; compacted was given"
            )

    def turn_at(self, x_BTD: Tensor, position_PBT: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [B, T, d] of positions on one axis or three."""
        position = position_PBT if self.three_axes else position_PBT[0]
        if self.three_axes:
            position = position.expand(3, -1, -1)
        turn: tuple[Tensor, Tensor] = self.text.rotary_emb(x_BTD, position)
        return turn

    def _begin(
        self, inputs: Mapping[str, Tensor], features: Sequence[Tensor] | None
    ) -> tuple[_Now, Tensor]:
        """What enters the first layer, with padding on the right; the next token's position."""
        id_BT = inputs["input_ids"]
        given = inputs.get("attention_mask")
        mask_BT = torch.ones_like(id_BT) if given is None else given
        x_BTD = self.text.embed_tokens(id_BT)
        visual_BT = (id_BT == self.model.config.image_token_id) & mask_BT.bool()
        sizes = torch.zeros(0, dtype=torch.long)
        if features is None and inputs.get("pixel_values") is not None:
            shown = {name: inputs[name] for name in PICTURE_INPUTS if inputs.get(name) is not None}
            features = self.see(shown)
        if features is not None:
            x_BTD, sizes = self._with_pictures(x_BTD, visual_BT, features)
        elif bool(visual_BT.any()):
            raise ValueError(f"prompts have places for {int(visual_BT.sum())} visual tokens, but "
                             "there are no pictures")  # fmt: skip
        picture_BT = _number_pictures(visual_BT, sizes)
        order_BT = (1 - mask_BT.long()).argsort(dim=1, stable=True)
        valid_BT = mask_BT.bool().gather(1, order_BT)
        layout = make_layout(picture_BT.gather(1, order_BT), valid_BT)
        position_PBT = layout.position_BT.unsqueeze(0)
        next_B = layout.lengths_B
        if self.three_axes:
            position_PBT = self._positions_in_pictures(inputs, mask_BT, visual_BT)
            position_PBT = position_PBT.gather(2, order_BT.expand_as(position_PBT))
            position_PBT = position_PBT.masked_fill(~valid_BT, 0)
            next_B = position_PBT.amax(dim=(0, 2)) + 1
        kept_BT = torch.arange(id_BT.shape[1], device=id_BT.device).expand(id_BT.shape)
        return self._at(take(x_BTD, order_BT), layout, kept_BT, position_PBT), next_B

    def _with_pictures(
        self, x_BTD: Tensor, visual_BT: Tensor, features: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The prompts with the pictures' features in their places, and each picture's size."""
        sizes = torch.tensor([len(one) for one in features], device=x_BTD.device)
        needed, made = int(visual_BT.sum()), int(sizes.sum())
        if needed != made:
            raise ValueError(
                f"prompts have places for {needed} visual tokens, their pictures make {made}"
            )
        merged = torch.cat(list(features)).to(x_BTD.dtype)
        return x_BTD.masked_scatter(visual_BT.unsqueeze(-1), merged), sizes

    def _positions_in_pictures(
        self, inputs: Mapping[str, Tensor], mask_BT: Tensor, visual_BT: Tensor
    ) -> Tensor:
        """Qwen2.5-VL's positions [3, B, T]: time, row and column."""
        position_PBT, _ = self.model.model.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=visual_BT.int(),
            image_grid_thw=inputs.get("image_grid_thw"),
            attention_mask=mask_BT,
        )
        found: Tensor = position_PBT
        return found

    def _at(self, x_BTD: Tensor, layout: Layout, kept_BT: Tensor, position_PBT: Tensor) -> _Now:
        from transformers.masking_utils import create_causal_mask

        mask = create_causal_mask(
            config=self.text.config,
            inputs_embeds=x_BTD,
            attention_mask=layout.valid_BT,
            cache=None,
            position_ids=None,  # kept positions have gaps, which would be read as packed rows
        )
        return _Now(x_BTD, layout, kept_BT, position_PBT, self.turn_at(x_BTD, position_PBT), mask)

    def _run_whole(self, index: int, now: _Now, cache: Any) -> tuple[_Now, Attended]:
        """The layer as transformers runs it."""
        x_BTD = self.text.layers[index](
            now.x_BTD, attention_mask=now.mask, position_embeddings=now.turn, cache=cache
        )
        nothing = x_BTD.new_empty(0)  # its queries stay inside
        return replace(now, x_BTD=x_BTD), Attended(nothing, nothing)

    def _is_scored_next(self, index: int, how: Dropping, now: _Now) -> bool:
        """Whether FastV's scores need this layer's queries."""
        following = how.schedule.at(index + 1)
        return (
            how.scorer == "fastv"
            and following is not None
            and not drops_nothing(now.layout, following.share, how.ranking)
        )

    def _drop_and_run(
        self, index: int, drop: Drop, how: Dropping, now: _Now, before: Attended, asked: Asked,
        cache: Any,
    ) -> tuple[_Now, Attended]:  # fmt: skip
        parts = LayerParts(self.text.layers[index])
        projected = parts.project(now.x_BTD)
        scores_BT = score_tokens(
            how.scorer, parts, projected, now.rotary, now.layout, before, asked
        )
        order_BK, layout = rank_and_drop(
            scores_BT, now.layout, drop.share, how.ranking, how.positions
        )
        position_PBT = layout.position_BT.unsqueeze(0)
        if self.three_axes:
            at_PBK = order_BK.expand(len(now.position_PBT), -1, -1)
            position_PBT = now.position_PBT.gather(2, at_PBK)
        after = self._at(
            take(now.x_BTD, order_BK), layout, now.kept_BT.gather(1, order_BK), position_PBT
        )
        return self._finish(index, after, projected.take(order_BK), cache)

    def _finish(self, index: int, now: _Now, projected: Any, cache: Any) -> tuple[_Now, Attended]:
        parts = LayerParts(self.text.layers[index])
        x_BTD, q, k, v = parts.finish(now.x_BTD, projected, now.rotary, now.mask)
        cache.update(k, v, index)
        return replace(now, x_BTD=x_BTD), Attended(q, k)

    def _decoding_mask(self, valid_BS: Tensor, dtype: torch.dtype) -> Tensor | None:
        """[B, 1, 1, S]: bool for sdpa, added numbers for eager; None where all is read."""
        if bool(valid_BS.all()):
            return None
        mask = valid_BS.unsqueeze(1).unsqueeze(1)
        if self.text.config._attn_implementation == "sdpa":
            return mask
        return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)


def load(
    name: str | Path, dtype: torch.dtype | None = None, place: torch.device | None = None
) -> HuggingFaceVlm:
    """The model in a directory, or with a hub's name; only safetensors are read. `dtype`: that of
    the checkpoint unless given.

    Raises ValueError in one sentence for a model that cannot be run layer by layer, OSError for a
    directory or a name without one.
    """
    from transformers import AutoModelForImageTextToText

    models: Any = AutoModelForImageTextToText  # without types
    model, found = models.from_pretrained(
        name,
        use_safetensors=True,
        dtype="auto" if dtype is None else dtype,
        trust_remote_code=False,
        output_loading_info=True,
    )
    if missing := sorted(found["missing_keys"]):
        raise UnusableModelError(
            f"{name}: the weights lack {missing[0]} and {len(missing) - 1} others"
        )
    return HuggingFaceVlm(model.eval() if place is None else model.eval().to(place))


def check_model(model: Any) -> None:
    """Raise ValueError in one sentence for a model that cannot be run layer by layer."""
    config = model.config
    if config.model_type not in MODELS:
        raise UnusableModelError(
            f"a model of type {config.model_type}; {', '.join(MODELS)} are possible"
        )
    if config.vision_config.model_type == "pixtral":
        raise UnusableModelError(
            "a vision part of type pixtral, whose pictures end in tokens of their own"
        )
    text = config.text_config
    if text.model_type not in DECODERS:
        raise UnusableModelError(
            f"a decoder of type {text.model_type}; {', '.join(DECODERS)} are possible"
        )
    attention = model.model.language_model.config._attn_implementation
    if attention not in ATTENTION:
        raise UnusableModelError(f"attention {attention}; {', '.join(ATTENTION)} are possible")
    kinds = getattr(text, "layer_types", None) or []
    sliding = getattr(text, "sliding_window", None) if not kinds else None
    if sliding is not None or any(kind != "full_attention" for kind in kinds):
        raise UnusableModelError("a decoder with sliding windows; only full attention is possible")


def _number_pictures(visual_BT: Tensor, sizes: Tensor) -> Tensor:
    """The number of each visual token's picture in its row, from 1; 0 for text: [B, T].

    `sizes`: the visual tokens of every picture of the batch, in their order.
    """
    if not len(sizes):
        return torch.zeros_like(visual_BT, dtype=torch.long)
    owner_A = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
    owner_BT = torch.zeros_like(visual_BT, dtype=torch.long)
    owner_BT[visual_BT] = owner_A
    first_B1 = owner_BT.masked_fill(~visual_BT, len(sizes)).amin(dim=1, keepdim=True)
    return torch.where(visual_BT, owner_BT - first_B1 + 1, 0)
