"""Compares the MACs that a manifest declares with those that its models execute."""

from collections.abc import Iterator
from pathlib import Path

from core.manifest import Manifest
from sparing.tables import show_macs

TOLERANCE = 0.01


def find_wrong_macs(directory: Path, manifest: Manifest) -> Iterator[str]:
    """Yield one clause for each stage whose MACs differ; nothing where onnx is not installed."""
    try:
        from importing.onnx_files.inspection import inspect_model
    except ModuleNotFoundError:
        return
    for stage in manifest.stages:
        if not stage.file.endswith(".onnx"):
            continue
        try:
            counted = inspect_model(directory / stage.file).macs
        except ValueError:
            continue  # it loads, so only counting fails
        if counted is not None and abs(counted - stage.macs) > TOLERANCE * max(counted, 1):
            yield (
                f"stage {stage.name}: route.toml says {show_macs(stage.macs)} MACs, its model "
                f"executes {show_macs(counted)}"
            )
