"""Writes a route directory in one step: `<out>/<route>/<version>/` with a `route.toml`.

The files are written to a hidden folder beside it, checked as a server would read them, and moved,
so a running server never sees half a route. A version never changes: the next one is written.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.manifest import read_manifest

Table = Mapping[str, Any]  # Any: anything that TOML can hold
Fill = Callable[[Path, str], Table]  # (folder, version): writes the files, returns the manifest


def write_version(
    out: Path, route: str, fill: Fill, check: Callable[[Path], object] = read_manifest
) -> Path:
    """Write the route's next version and return its directory; nothing is left where it fails.

    `check` gets the complete directory, under its final name and version, before it is moved.
    """
    folder = out / route
    version = _next_version(folder)
    staging = out / f".{route}.partial-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    partial = staging / route / version
    partial.mkdir(parents=True)
    try:
        table = {**fill(partial, version)}
        table["files"] = {path.name: describe_file(path) for path in sorted(partial.iterdir())}
        (partial / "route.toml").write_text(to_toml(table))
        check(partial)
        folder.mkdir(parents=True, exist_ok=True)
        partial.rename(folder / version)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder / version


def describe_file(path: Path) -> Table:
    """Return what `[files]` says of a file."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size_bytes": path.stat().st_size, "sha256": found}


def to_toml(table: Table) -> str:
    """Scalars, lists of scalars, tables and lists of tables; a value of None is left out."""
    return "\n".join(_lines(table, ())) + "\n"


def _next_version(folder: Path) -> str:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return str(max((int(name) for name in names if name.isdecimal()), default=0) + 1)


def _lines(table: Table, path: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    nested: list[str] = []
    for key, value in table.items():
        here = (*path, key)
        name = ".".join(_key(part) for part in here)
        if isinstance(value, Mapping):
            nested += ["", f"[{name}]", *_lines(value, here)]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for item in value:
                nested += ["", f"[[{name}]]", *_lines(item, here)]
        elif value is not None:
            lines.append(f"{_key(key)} = {_value(value)}")
    return lines + nested


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else _value(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    raise ValueError(f"TOML has no value of type {type(value).__name__}")
