"""Builds the pipeline `vlm`; torch is imported only where a route of this kind is served."""

from importlib.util import find_spec
from pathlib import Path

from core.devices.interface import Device
from core.errors import ModelDirectoryError
from core.messages import Pipeline

NEEDED = ("torch", "safetensors")


def build(directory: Path, device: Device) -> Pipeline:
    """Open the model. Raises ModelDirectoryError, which names the directory and the fault."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ModelDirectoryError(
            f"{directory}: pipeline vlm needs the extra vlm ({missing[0]} is not installed); "
            "make serve EXTRAS=vlm, or pip install '.[vlm]', installs it"
        )
    from tokens.vision_language.serving.pipeline import build as build_pipeline

    return build_pipeline(directory, device)
