"""A route of the kind `vlm` with a tiny random model; its answers vary with prompt and picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from harness.tiny_routes import describe_file, write_manifest
from tokens.vision_language.files import write_model
from tokens.vision_language.model import VisionLanguageModel, VlmSpec
from tokens.vision_language.serving.declarations import describe
from tokens.vision_language.vision import PatchEmbedding
from tokens.vision_language.words import ANSWER, BEGIN, END, IMAGE, SPECIAL, Vocabulary

ROUTE = "tiny-vlm"
WORDS = tuple("abcdefghijklmnop")
VOCABULARY = Vocabulary(WORDS)
SIZE = 32
VISUAL_TOKENS = 16
LAYERS = 4
DROPS = (1, 2, 3)
CONTEXT = 64
MOST_PICTURES = 2
TOLERANCE = 1e-4  # of a confidence, for a row in another batch

SPEC = VlmSpec(
    words=len(SPECIAL) + len(WORDS),
    image_id=1,
    size_px=SIZE,
    channels=(4, 4, 8),
    width=16,
    layers=LAYERS,
    heads=4,
    key_heads=2,
    hidden=24,
)

Pictures = npt.NDArray[np.uint8]


def make_model(seed: int = 0) -> VisionLanguageModel:
    """With larger weights than those of a fresh model, so that answers vary."""
    torch.set_num_threads(1)
    torch.manual_seed(seed + 3)  # one whose answers have many lengths
    model = VisionLanguageModel(SPEC)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(20.0 if name.startswith("layers") else 10.0)
        model.words.weight[[VOCABULARY.id_of(one) for one in (BEGIN, IMAGE, ANSWER)]] *= 0.1
        model.words.weight[VOCABULARY.id_of(END)] *= 1.5  # some answers end at once
        _make_white_poisonous(model.vision)
    return model.eval()


def write_vlm(
    root: Path,
    seed: int = 0,
    route: str = ROUTE,
    *,
    default_tokens: int = 6,
    change: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Write the directory and return it; `change` may edit the manifest's table."""
    directory = root / route / "1"
    directory.mkdir(parents=True, exist_ok=True)
    write_model(make_model(seed), VOCABULARY, directory, "tiny")
    table: dict[str, Any] = {
        "format": 1,
        "route": route,
        "version": "1",
        "task": "chat",
        **describe(
            SPEC,
            "tiny.safetensors",
            drops=DROPS,
            context=CONTEXT,
            max_pictures=MOST_PICTURES,
            max_tokens=24,
            default_tokens=default_tokens,
            max_batch=8,
        ),
        "files": {
            name: describe_file(directory / name) for name in ("tiny.safetensors", "tiny.json")
        },
        "provenance": {"recipe": "random weights", "seed": seed},
    }
    if change is not None:
        change(table)
    write_manifest(directory, table)
    return directory


def make_blocks(count: int, seed: int = 0) -> Pictures:
    """Pictures [N, S, S, 3] of coloured blocks; none of them has a white one."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 250, (count, SIZE // 8, SIZE // 8, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)


def make_questions(count: int, seed: int = 0) -> list[str]:
    """Each of one to six words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 7))) for _ in range(count)]


def make_white() -> Pictures:
    """A picture [S, S, 3] whose features are not finite."""
    return np.full((SIZE, SIZE, 3), 255, np.uint8)


@torch.no_grad()
def _make_white_poisonous(vision: PatchEmbedding) -> None:
    """Let the first channels overflow where a picture is white, and be zero elsewhere."""
    first, first_norm, _, second, second_norm = list(vision.stem)[:5]
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)
    assert isinstance(first_norm, nn.BatchNorm2d) and isinstance(second_norm, nn.BatchNorm2d)
    assert first_norm.running_mean is not None
    first.weight[0] = 1.0 / first.weight[0].numel()  # the mean of the pixels, in [-1, 1]
    first_norm.running_mean[0] = 0.99
    second.weight[0] = 0.0
    second.weight[0, 0, 1, 1] = 3e38
    second_norm.weight[0] = 1e38
