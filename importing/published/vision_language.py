"""Makes a route of a published vision-language model, from a directory or by a hub's name.

The files of the model stay as they are; weights are linked where the file system allows it.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from core.manifest import FORMAT
from routes.writing import Table, write_version
from tokens.pyramid_drop.dropping import Positions
from tokens.vision_language.hugging_face.opening import open_model, read_config
from tokens.vision_language.serving.declarations import describe
from tokens.vision_language.serving.row_cache import count_bytes

WEIGHTS = "*.safetensors"
FILES = (WEIGHTS, "*.json", "*.jinja", "*.txt", "tokenizer.model")
STAGES = 4  # of equal depth, as in PyramidDrop
DEFAULT_TOKENS = 128  # of an answer
TEXT = 1024  # tokens that a prompt may have beside its pictures
CHATS = 4  # whose pictures' visual tokens are kept for further questions
FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """What may be chosen of a route."""

    size_px: int | None = None  # side of a picture; None: the vision part's own
    drops: Sequence[int] = ()  # layers before which tokens are dropped; none: the paper's
    context: int | None = None  # tokens of a prompt and its answer; None: `TEXT` beside pictures
    max_pictures: int = 1
    max_tokens: int = 512
    max_batch: int = 4  # rows: each has keys and values of every layer


class Written(NamedTuple):
    """A route, and what its rows need."""

    directory: Path
    state_bytes: int  # keys and values of the longest chat, in the weights' type


def write_route(source: str, name: str, out: Path, wanted: Wanted) -> Written:
    """Write the route's next version.

    `source`: a directory, or a hub's name, from which the model is downloaded. Raises ValueError in
    one sentence for a model that cannot be served, OSError where there is none.
    """
    folder = find(source)
    weights = sorted(path.name for path in folder.glob(WEIGHTS))
    if not weights:
        raise ValueError(f"{folder}: no .safetensors file; other weights are not read")
    config = read_config(folder)
    positions: Positions = "kept" if config.model_type == "qwen2_5_vl" else "compacted"
    size_px = wanted.size_px or find_size(config)
    cpu = torch.device("cpu")
    backbone, template = open_model(folder, size_px, cpu, positions)
    layers = backbone.sizes.decoder.layers
    drops = wanted.drops or [layers * stage // STAGES for stage in range(1, STAGES)]
    default_tokens = min(DEFAULT_TOKENS, wanted.max_tokens)
    least = len(template.read("", wanted.max_pictures).ids) + default_tokens
    most = int(config.text_config.max_position_embeddings)
    context = min(most, least + TEXT) if wanted.context is None else wanted.context
    check(wanted, layers, context, least, most)
    sizes = backbone.sizes
    picture_bytes = sizes.visual_tokens * sizes.decoder.width * FLOAT32_BYTES

    def fill(directory: Path, version: str) -> Table:
        for path in list_files(folder):
            place(path, directory / path.name)
        return {
            "format": FORMAT,
            "route": name,
            "version": version,
            "task": name,
            "description": f"{config.model_type}, with as many visual tokens as a request pays for",
            "certificate": "none",
            **describe(
                sizes,
                weights[0],
                drops=sorted(set(drops)),
                context=context,
                max_pictures=wanted.max_pictures,
                max_tokens=wanted.max_tokens,
                default_tokens=default_tokens,
                max_batch=wanted.max_batch,
                features_limit_bytes=CHATS * max(1, wanted.max_pictures) * picture_bytes,
                library="transformers",
                positions=positions,
            ),
            "provenance": {"recipe": "sparing import-vlm", "source": source},
        }

    lengths = [context] * layers
    state_bytes = count_bytes(sizes.decoder.key_width, lengths, 0, backbone.item_bytes)
    return Written(write_version(out, name, fill), state_bytes)


def check(wanted: Wanted, layers: int, context: int, least: int, most: int) -> None:
    """Raise ValueError in one sentence for what the model cannot run. `least`: tokens of a prompt
    with all pictures, and an answer; `most`: those that the model has positions for.
    """
    if not all(0 < layer < layers for layer in wanted.drops):
        raise ValueError(f"drops: given {list(wanted.drops)}, allowed layers 1 to {layers - 1}")
    if not least <= context <= most:
        raise ValueError(
            f"context: given {context} tokens, allowed {least} (for {wanted.max_pictures} "
            f"pictures and an answer) to {most}"
        )


def find(source: str) -> Path:
    """The directory, or where the hub's files were put. Raises OSError."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(source, allow_patterns=list(FILES)))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise OSError(f"{source}: no such directory, and the hub gave nothing: {first}") from error


def find_size(config: object) -> int:
    """The side of the pictures that a model's vision part takes; 448 where it takes any."""
    vision = getattr(config, "vision_config", None)
    return int(getattr(vision, "image_size", 448))


def list_files(folder: Path) -> list[Path]:
    """The files of the model in its directory."""
    return sorted({path for pattern in FILES for path in folder.glob(pattern) if path.is_file()})


def place(source: Path, target: Path) -> None:
    """Link weights, and copy other files, which their author may write again in place."""
    if source.match(WEIGHTS):
        try:
            os.link(source.resolve(), target)
            return
        except OSError:
            pass  # another file system
    shutil.copyfile(source, target)
