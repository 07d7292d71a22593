"""Opens a directory that holds a model of transformers, its image processor and its tokenizer."""

from pathlib import Path
from typing import Any

import torch

from tokens.pyramid_drop.dropping import Positions
from tokens.vision_language.hugging_face.backbone import HuggingFaceBackbone
from tokens.vision_language.hugging_face.model import UnusableModelError, load
from tokens.vision_language.hugging_face.text import HuggingFaceTemplate, open_template


def read_config(directory: Path) -> Any:
    """The model's configuration. Raises ValueError in one sentence."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise _explain(error) from error


def open_model(
    directory: Path, size_px: int, place: torch.device, positions: Positions
) -> tuple[HuggingFaceBackbone, HuggingFaceTemplate]:
    """The model, in float32 on the CPU and in its own type elsewhere, and how it reads chats.

    `size_px`: side of the pictures. Raises ValueError in one sentence.
    """
    try:
        return _open(directory, size_px, place, positions)
    except Exception as error:  # those of transformers and of files share no root but Exception
        raise _explain(error) from error


def _explain(error: Exception) -> ValueError:
    if isinstance(error, UnusableModelError):
        return error
    first = str(error).strip().partition("\n")[0]
    return ValueError(f"transformers cannot load it: {first}")


def _open(
    directory: Path, size_px: int, place: torch.device, positions: Positions
) -> tuple[HuggingFaceBackbone, HuggingFaceTemplate]:
    from transformers import AutoImageProcessor

    vlm = load(directory, torch.float32 if place.type == "cpu" else None, place)
    if vlm.three_axes and positions != "kept":
        raise UnusableModelError(
            "options.positions: given compacted, allowed kept, as positions of this model count "
            "rows and columns of a picture"
        )
    processors: Any = AutoImageProcessor  # without types
    processor = processors.from_pretrained(
        directory, local_files_only=True, trust_remote_code=False
    )
    backbone = HuggingFaceBackbone(vlm, processor, size_px)
    return backbone, open_template(directory, vlm.model, backbone.sizes.visual_tokens)
