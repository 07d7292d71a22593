"""Finds route directories below a models directory; opens only folders, no files.

A folder that cannot be listed or holds too many entries is reported as a fault; the others are
still found.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from core.errors import ModelDirectoryError

MAX_ENTRIES = 10_000  # of a models directory or a route's folder


@dataclass(frozen=True, slots=True)
class RouteScan:
    """Every `<root>/<route>/<version>` in name order, with damaged ones but without hidden ones."""

    directories: list[Path] = field(default_factory=list)
    faults: dict[Path, str] = field(default_factory=dict)


def scan_routes(root: Path) -> RouteScan:
    """List the routes below `root`. Raises ModelDirectoryError if it cannot be listed."""
    if not root.is_dir():
        raise ModelDirectoryError(
            f"{root.absolute()}: no such directory; --models (Bento: SPARING_MODELS) names another"
        )
    found = RouteScan()
    try:
        routes = _list_folders(root, found.faults)
    except OSError as error:
        raise ModelDirectoryError(f"{root.absolute()}: {error.strerror}") from error
    for route in routes:
        try:
            found.directories.extend(_list_folders(route, found.faults))
        except OSError as error:
            found.faults[route] = f"{route}: {error.strerror}"
    return found


def _list_folders(folder: Path, faults: dict[Path, str]) -> list[Path]:
    with os.scandir(folder) as entries:
        first = list(islice(entries, MAX_ENTRIES + 1))
    if len(first) > MAX_ENTRIES:
        raise OSError(0, f"holds more than {MAX_ENTRIES} entries")
    return sorted(_select_folders(folder, first, faults))


def _select_folders(
    folder: Path, entries: list["os.DirEntry[str]"], faults: dict[Path, str]
) -> Iterator[Path]:
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = folder / entry.name
        try:
            if entry.is_dir():
                yield path
        except OSError as error:  # a loop of links
            faults[path] = f"{path}: {error.strerror}"
