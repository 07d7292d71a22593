"""A directory of another library, read as our dense net."""

from pathlib import Path

from tokens.foreign.files import read_json
from tokens.foreign.hugging_face import read_hugging_face
from tokens.foreign.timm import read_timm
from tokens.vision_transformer import VisionTransformer


def read_foreign(folder: Path) -> VisionTransformer:
    """A saved ViT of Hugging Face transformers or of timm: `config.json` says which.

    Only safetensors are read, nothing is fetched. Raises ValueError in one sentence for what
    cannot be converted.
    """
    described = read_json(folder / "config.json")
    if "architecture" in described:
        return read_timm(folder)
    if "model_type" in described:
        return read_hugging_face(folder)
    raise ValueError(f"{folder}: config.json has neither timm's architecture nor a model_type")
