"""What a `vlm` route declares in `route.toml`: inputs, outputs, parameters, stages and options.

`describe` writes these tables for a model, and loading compares a route with them.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tokens.pyramid_drop.dropping import Positions, Ranking
from tokens.pyramid_drop.flops import decoder_macs
from tokens.pyramid_drop.scoring import Scorer
from tokens.vision_language.serving.backbone import Sizes
from tokens.vision_language.serving.generation import MAX_TOKENS, SEED, STOP, TEMPERATURE, TOP_P
from tokens.vision_language.serving.schedules import (
    DROP_LAYERS,
    DROP_SHARES,
    NO_DROPS,
    TYPICAL_TEXT,
    VISUAL_TOKENS,
    Schedules,
)
from tokens.vision_language.serving.stages import DECODE, IMAGE, PREFILL, PROMPT, TOKENS

KIND = "vlm"


class VlmOptions(BaseModel):
    """`[options]` of the route."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    library: Literal["sparing", "transformers"] = "sparing"  # whose model it is
    drops: list[int] = []  # layers before which `visual_tokens` drops; none: it cannot
    early_drops: list[int] = []  # others, for numbers of tokens that those do not reach
    scorer: Scorer = "last"
    ranking: Ranking = "joint"
    positions: Positions = "compacted"
    context: int = Field(ge=1)  # tokens of a prompt and its answer
    max_pictures: int = Field(ge=0, le=64, default=1)  # of a prompt
    features_limit_bytes: int = Field(ge=0, default=16 * 2**20)  # of pictures shown before

    @property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """Of layers before which `visual_tokens` drops, late ones first."""
        return make_choices(self.drops, self.early_drops)


def make_choices(
    drops: Sequence[int], early_drops: Sequence[int] = ()
) -> tuple[tuple[int, ...], ...]:
    return (tuple(drops), tuple(early_drops)) if early_drops else (tuple(drops),)


def list_inputs(sizes: Sizes) -> list[dict[str, Any]]:
    size = sizes.size_px
    return [
        {"name": PROMPT, "datatype": "BYTES", "shape": [-1]},
        {"name": IMAGE, "datatype": "UINT8", "shape": [-1, -1, size, size, 3]},
    ]


def list_outputs(sizes: Sizes) -> list[dict[str, Any]]:
    return [
        {"name": "text", "datatype": "BYTES", "shape": [-1]},
        {"name": "finish", "datatype": "BYTES", "shape": [-1]},
        {"name": TOKENS, "datatype": "INT64", "shape": [-1, -1]},
        {"name": "prompt_tokens", "datatype": "INT64", "shape": [-1]},
        {"name": "visual_tokens", "datatype": "INT64", "shape": [-1, sizes.decoder.layers]},
    ]


def list_parameters(
    sizes: Sizes, choices: tuple[tuple[int, ...], ...], max_tokens: int, default_tokens: int
) -> dict[str, dict[str, Any]]:
    """`max_tokens`: the most that a request may ask for; `default_tokens`: without asking."""
    least = Schedules(sizes.decoder, sizes.visual_tokens, choices).least
    return {
        MAX_TOKENS: {
            "type": "integer", "default": default_tokens, "min": 1, "max": max_tokens,
            "description": "the longest answer, in tokens",
        },
        TEMPERATURE: {
            "type": "number", "default": 0.0, "min": 0.0, "max": 2.0,
            "description": "0 takes the most probable token",
        },
        TOP_P: {
            "type": "number", "default": 1.0, "min": 0.0, "max": 1.0,
            "description": "the share of probability from which a token is drawn",
        },
        SEED: {"type": "integer", "default": 0, "description": "of the tokens that are drawn"},
        STOP: {
            "type": "strings", "default": [], "max_items": 4,
            "description": "texts before which an answer ends",
        },
        VISUAL_TOKENS: {
            "type": "number", "default": float(sizes.visual_tokens), "min": float(least),
            "max": float(sizes.visual_tokens),
            "description": "mean number that a layer reads of each picture",
        },
        DROP_LAYERS: {
            "type": "integers", "default": [], "max_items": 64,
            "description": "a schedule of its own: layers before which visual tokens are dropped",
        },
        DROP_SHARES: {
            "type": "numbers", "default": [], "max_items": 64, "min": 0.0, "max": 1.0,
            "description": "the share of visual tokens that is kept from each of these layers on",
        },
    }  # fmt: skip


def describe(
    sizes: Sizes,
    file: str,  # of its weights
    *,
    drops: Sequence[int],
    early_drops: Sequence[int] = (),
    context: int,
    max_pictures: int = 1,
    max_tokens: int = 64,
    default_tokens: int = 16,
    max_batch: int = 32,
    **options: Any,  # further ones
) -> dict[str, Any]:
    """Return these tables of `route.toml`; its other keys are the caller's."""
    token = decoder_macs(sizes.decoder, 0, 1, NO_DROPS) + sizes.words * sizes.decoder.width
    prefill = decoder_macs(sizes.decoder, sizes.visual_tokens, TYPICAL_TEXT, NO_DROPS)
    prefill += sizes.picture_macs
    macs = {PREFILL: prefill, DECODE: token}
    return {
        "pipeline": KIND,
        "expected_macs": float(prefill),
        "inputs": list_inputs(sizes),
        "outputs": list_outputs(sizes),
        "parameters": list_parameters(
            sizes, make_choices(drops, early_drops), max_tokens, default_tokens
        ),
        "picture": {"input": IMAGE, "height": sizes.size_px, "width": sizes.size_px, "channels": 3},
        "stages": [
            {"name": stage, "file": file, "macs": count, "max_batch": max_batch}
            for stage, count in macs.items()
        ],
        "options": {
            "drops": list(drops),
            **({"early_drops": list(early_drops)} if early_drops else {}),
            "context": context,
            "max_pictures": max_pictures,
            **options,
        },
    }
