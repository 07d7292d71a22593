"""A model of Hugging Face transformers as what serves, from its own directory.

Pictures have one size, that of the route, so all have the same number of visual tokens. The
directory's image processor prepares them.

Shapes: B rows, N pictures, S side of a picture, V visual tokens of a picture, D width, W words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tokens.pyramid_drop.dropping import Positions
from tokens.pyramid_drop.flops import DecoderShape
from tokens.vision_language.hugging_face.layers import LayerParts
from tokens.vision_language.hugging_face.model import PICTURE_INPUTS, HuggingFaceVlm
from tokens.vision_language.layers import Rotary, make_rotary
from tokens.vision_language.model import Dropping, Prompts
from tokens.vision_language.serving.backbone import Begun
from tokens.vision_language.serving.row_cache import RowCache, decode_rows, split_rows

GRID = "image_grid_thw"


@dataclass(frozen=True, slots=True)
class HuggingFaceSizes:
    """The sizes of one model, for pictures of one size."""

    size_px: int
    visual_tokens: int
    words: int
    decoder: DecoderShape
    picture_macs: int


class HuggingFaceBackbone:
    """A loaded model and its image processor."""

    def __init__(self, vlm: HuggingFaceVlm, processor: Any, size_px: int) -> None:
        """Sees a black picture, to count visual tokens and MACs."""
        self._vlm = vlm
        self._processor = processor
        self._layers = [LayerParts(layer) for layer in vlm.text.layers]
        weights = next(vlm.text.parameters())
        self.place, self.item_bytes = weights.device, weights.element_size()
        black = torch.zeros(1, size_px, size_px, 3, dtype=torch.uint8)
        shown = self._prepare(black)
        self._grid_1P = shown.get(GRID)
        with FlopCounterMode(display=False) as counter:
            (features,) = vlm.see(shown)
        self.sizes = HuggingFaceSizes(
            size_px,
            len(features),
            int(vlm.model.get_output_embeddings().weight.shape[0]),
            read_shape(vlm.text.config),
            counter.get_total_flops() // 2,
        )

    def see(self, pictures: Tensor) -> Tensor:
        return torch.stack(self._vlm.see(self._prepare(pictures)))

    def prefill(
        self, prompts: Prompts, features: Tensor | None, how: Dropping, rooms: Sequence[int]
    ) -> Begun:
        inputs = {"input_ids": prompts.id_BT, "attention_mask": prompts.valid_BT.long()}
        if features is not None and self._grid_1P is not None:
            inputs[GRID] = self._grid_1P.expand(len(features), -1)
        shown = None if features is None else list(features)
        done = self._vlm.prefill(inputs, how, prompts.seeds, shown)
        kept = [
            (layer.keys, layer.values, valid_BT.sum(dim=1))
            for layer, valid_BT in zip(done.cache.layers, done.valid_LBS, strict=True)
        ]
        caches = split_rows(kept, done.next_B, rooms)
        return Begun(done.logits_BV, caches, done.counts, done.reads)

    @torch.no_grad()
    def decode(self, id_B: Tensor, caches: Sequence[RowCache], positions: Positions) -> Tensor:
        text = self._vlm.text
        x_BD = text.embed_tokens(id_B)

        def turn(position_B1: Tensor) -> Rotary:
            return make_rotary(*self._vlm.turn_at(x_BD, position_B1.unsqueeze(0)))

        x_BD = decode_rows(self._layers, x_BD, caches, positions, turn)
        logits_BW: Tensor = self._vlm.model.lm_head(text.norm(x_BD))
        return logits_BW

    def _prepare(self, pictures: Tensor) -> Mapping[str, Tensor]:
        """The model's picture inputs for uint8 pictures [N, S, S, 3]."""
        arrays = [np.asarray(one) for one in pictures.cpu().numpy()]
        made = self._processor(images=arrays, return_tensors="pt")
        weights = next(self._vlm.text.parameters())
        return {
            name: made[name].to(
                self.place, weights.dtype if made[name].is_floating_point() else made[name].dtype
            )
            for name in PICTURE_INPUTS
            if name in made
        }


def read_shape(config: Any) -> DecoderShape:
    """What decides the cost of a decoder, from its configuration."""
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return DecoderShape(
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        head_width * (config.num_key_value_heads or heads),
    )
