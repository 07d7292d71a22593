"""Checks a route directory with the server's own loader, and lists all of its faults at once.

The loader stops at the first fault. So everything that can be checked by itself is checked then:
each part of the manifest, each file, each stage's model.
"""

import tomllib
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.devices.interface import Device
from core.errors import ModelDirectoryError
from core.manifest import FileSpec, Manifest, describe_faults, find_unlisted_files, verify_file
from routes.loading import find_picture_fault, load_route


@dataclass(frozen=True, slots=True)
class CheckedRoute:
    """The manifest of a route that loads, or its faults, one sentence each."""

    directory: Path
    manifest: Manifest | None
    faults: tuple[str, ...]


def check_route(directory: Path, device: Device) -> CheckedRoute:
    """Load the route as a server does; if that fails, find its other faults too.

    Stages with two files are loaded with either, since servers on other CPUs may run the other one.
    """
    try:
        manifest = load_route(directory, device).manifest
        if any(stage.int8_file for stage in manifest.stages):
            for precision in ("float32", "int8"):
                load_route(directory, device.with_precision(precision))
        return CheckedRoute(directory, manifest, ())
    except ModelDirectoryError as error:
        first = str(error)
    faults = [first, *_find_faults(directory, device)]
    return CheckedRoute(directory, None, tuple(dict.fromkeys(faults)))


def _find_faults(directory: Path, device: Device) -> list[str]:
    try:
        table = tomllib.loads((directory / "route.toml").read_text())
    except (OSError, ValueError):
        return []  # the loader said so
    damaged = _find_file_faults(directory, table.get("files"))
    return [
        *_find_manifest_faults(directory, table),
        *damaged.values(),
        *_find_model_faults(directory, table, device, damaged.keys()),
    ]


def _find_manifest_faults(directory: Path, table: dict[str, Any]) -> list[str]:
    try:
        manifest = Manifest.model_validate(table)
    except ValidationError as error:
        return [f"{directory}/route.toml: {fault}" for fault in describe_faults(error)]
    place = directory.resolve()
    faults = []
    if (place.parent.name, place.name) != (manifest.route, manifest.version):
        faults.append(
            f"{directory}: route.toml says route {manifest.route}, version {manifest.version}; "
            "the directory must be <route>/<version>"
        )
    if fault := find_picture_fault(manifest):
        faults.append(f"{directory}/route.toml: {fault}")
    faults += [
        f"{directory}: stage {name}: {file} is not in [files]"
        for name, file in find_unlisted_files(manifest)
    ]
    return faults


def _find_file_faults(directory: Path, files: object) -> dict[str, str]:
    """Return the fault of each file that is not as `[files]` says."""
    faults = {}
    for name, entry in files.items() if isinstance(files, dict) else ():
        try:
            if Path(name).name == name:
                verify_file(directory / name, FileSpec.model_validate(entry))
        except ModelDirectoryError as error:
            faults[name] = str(error)
        except ValidationError:
            continue  # a fault of the manifest
    return faults


def _find_model_faults(
    directory: Path, table: dict[str, Any], device: Device, damaged: Container[str]
) -> list[str]:
    """Open every stage's model by itself, but those whose file is damaged."""
    faults = []
    stages = table.get("stages")
    tables = [one for one in stages if isinstance(one, dict)] if isinstance(stages, list) else []
    for file in [one.get(key) for one in tables for key in ("file", "int8_file")]:
        if not isinstance(file, str) or Path(file).name != file or file in damaged:
            continue
        try:
            device.open(directory / file)
        except ModelDirectoryError as error:
            faults.append(str(error))
    return faults
