"""Reads the manifest of a route as a device runs it: with the file of every stage chosen."""

from pathlib import Path

from core.devices.interface import Device, FilePair
from core.manifest import Manifest, StageSpec, read_manifest, use_int8


def read_runnable(directory: Path, device: Device) -> Manifest:
    """Read and verify `route.toml`; each `file` is the one that runs on the device, and the digest
    covers which. Raises ModelDirectoryError.
    """
    manifest = read_manifest(directory)
    chosen = [
        stage.name
        for stage in manifest.stages
        if stage.int8_file is not None
        and device.runs_int8(_pair(directory, manifest, stage, stage.int8_file))
    ]
    return use_int8(manifest, chosen)


def _pair(directory: Path, manifest: Manifest, stage: StageSpec, int8_file: str) -> FilePair:
    return FilePair(
        directory / stage.file,
        directory / int8_file,
        (manifest.files[stage.file].sha256, manifest.files[int8_file].sha256),
        stage.max_batch,
    )
