"""This project's own small model as what serves."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokens.pyramid_drop.dropping import Positions
from tokens.vision_language.layers import Rotary, rotary
from tokens.vision_language.model import Dropping, Prompts, VisionLanguageModel, VlmSpec
from tokens.vision_language.serving.backbone import Begun
from tokens.vision_language.serving.row_cache import RowCache, decode_rows, split_rows


@dataclass(frozen=True, slots=True)
class SmallBackbone:
    """The model, moved to its device."""

    model: VisionLanguageModel
    place: torch.device

    @property
    def sizes(self) -> VlmSpec:
        return self.model.spec

    @property
    def item_bytes(self) -> int:
        return self.model.words.weight.element_size()

    def see(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.model.vision(pictures)
        return found

    def prefill(
        self, prompts: Prompts, features: Tensor | None, how: Dropping, rooms: Sequence[int]
    ) -> Begun:
        done = self.model.prefill(prompts, None, how, room=0, features=features)
        assert done.cache is not None
        rows_B = torch.arange(len(rooms), device=self.place)
        last_BD = done.hidden_BTD[rows_B, done.layout.lengths_B - 1]
        kept = [(one.k, one.v, one.length_B) for one in done.cache.layers]
        caches = split_rows(kept, done.cache.next_B, rooms)
        return Begun(self.model.logits(last_BD), caches, done.counts, done.reads)

    def decode(self, id_B: Tensor, caches: Sequence[RowCache], positions: Positions) -> Tensor:
        model, spec = self.model, self.model.spec

        def turn(position_B1: Tensor) -> Rotary:
            turn = rotary(position_B1, spec.width // spec.heads, spec.rotary_base)
            return turn.to(model.words.weight.dtype)

        x_BD = decode_rows(model.decoder_layers(), model.words(id_B), caches, positions, turn)
        return model.logits(model.norm(x_BD))
