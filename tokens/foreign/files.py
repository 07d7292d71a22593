"""Reading a directory of another library: its configuration, its weights, and whose it is."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

WEIGHTS = "model.safetensors"


def read_json(path: Path) -> dict[str, Any]:
    """Raises ValueError in one sentence for a file that is not a JSON object."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a JSON object is needed")
    return found


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Raises ValueError in one sentence for a file that is not of safetensors."""
    path = folder / WEIGHTS
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error})") from error
