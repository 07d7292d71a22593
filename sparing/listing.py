"""Lists the routes in directories: reads manifests and verifies files, but builds no pipeline."""

from collections.abc import Iterable
from pathlib import Path

from core.errors import ModelDirectoryError
from core.manifest import Manifest, read_manifest
from routes.scanning import scan_routes


def read_directories(roots: Iterable[Path]) -> tuple[list[Manifest], list[str]]:
    """Return the manifests of all intact routes, and one sentence for each damaged one."""
    manifests: list[Manifest] = []
    faults: list[str] = []
    for root in roots:
        found = scan_routes(root)
        faults.extend(found.faults.values())
        for directory in found.directories:
            try:
                manifests.append(read_manifest(directory))
            except ModelDirectoryError as error:
                faults.append(str(error))
    return manifests, faults
