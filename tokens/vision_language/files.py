"""A small vision-language model as two files: `<name>.safetensors`, weights, and `<name>.json`.

The JSON has the architecture and the vocabulary. Weights may be stored in half precision; they are
float32 once read.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tokens.vision_language.model import VisionLanguageModel, VlmSpec
from tokens.vision_language.words import SPECIAL, Vocabulary


def write_model(
    model: VisionLanguageModel,
    vocabulary: Vocabulary,
    folder: Path,
    name: str,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write both files; whole numbers keep their type."""
    weights = {key: _store(value, dtype) for key, value in model.state_dict().items()}
    save_file(weights, folder / f"{name}.safetensors")
    described = {"spec": asdict(model.spec), "words": vocabulary.words[len(SPECIAL) :]}
    (folder / f"{name}.json").write_text(json.dumps(described, indent=1) + "\n")


def read_model(folder: Path, name: str) -> tuple[VisionLanguageModel, Vocabulary]:
    """The model, ready to answer, and its vocabulary.

    Raises ValueError in one sentence where a file is damaged or the two do not fit.
    """
    path = folder / f"{name}.json"
    try:
        described = json.loads(path.read_text())
        spec, vocabulary = _read_spec(described["spec"]), Vocabulary(described["words"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not describe a vision-language model: {error}") from error
    if spec.words != len(vocabulary):
        raise ValueError(f"{path} has {len(vocabulary)} words, its architecture {spec.words}")
    model = VisionLanguageModel(spec)
    weights = folder / f"{name}.safetensors"
    try:
        found = {key: _restore(value) for key, value in load_file(weights).items()}
        model.load_state_dict(found)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{weights} does not fit {path.name}: {error}") from error
    return model.eval(), vocabulary


def _read_spec(given: dict[str, Any]) -> VlmSpec:
    """From JSON, which has no tuples. Raises TypeError for unknown or missing fields."""
    known = {one.name for one in fields(VlmSpec)}
    if unknown := sorted(given.keys() - known):
        raise TypeError(f"unknown field {unknown[0]}")
    return VlmSpec(**{**given, "channels": tuple(given["channels"])})


def _store(value: Tensor, dtype: torch.dtype) -> Tensor:
    return (value.to(dtype) if value.is_floating_point() else value).contiguous()


def _restore(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
