"""Finds the pipeline kinds below a models directory, without loading any route."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from core.errors import ModelDirectoryError
from core.files import read_regular
from core.manifest import MAX_MANIFEST_BYTES
from routes.scanning import scan_routes


def find_kinds(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the route and the kind of each version below `root`; what cannot be read has none."""
    try:
        directories = scan_routes(root).directories
    except ModelDirectoryError:
        return
    for directory in directories:
        try:
            table = tomllib.loads(
                read_regular(directory / "route.toml", MAX_MANIFEST_BYTES).decode()
            )
        except (OSError, ValueError):
            continue
        kind = table.get("pipeline")
        if isinstance(kind, str):
            yield directory.resolve().parent.name, kind
