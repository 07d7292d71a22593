"""Write a route directory in one step: `<out>/<route>/<version>/` with a `route.toml`.

The files are written to a temporary folder beside it, read back as a server would read them, and
renamed, so a running server never sees half a route. A version never changes: training again writes
the next one.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from core.manifest import FORMAT, read_manifest

REPOSITORY = Path(__file__).parents[2]

Table = Mapping[str, Any]  # Any: anything that TOML can hold


@dataclass(frozen=True, slots=True)
class StageFiles:
    """One entry of `[[stages]]`, and where its files are now."""

    name: str
    onnx: Path
    description: Table  # becomes <stage>.json: the net's layers and how it was trained
    macs: int
    temperature: float
    threshold: float | None  # None: the last stage
    max_batch: int = 64


@dataclass(frozen=True, slots=True)
class RouteDraft:
    """A picture classifier's route: everything in `route.toml` but the hashes of its files."""

    route: str
    task: str  # routes of one task have the same inputs and labels
    pipeline: str
    description: str
    expected_macs: float
    shape: tuple[int, ...]  # of a picture: height, width and, of colour ones, channels
    labels: tuple[str, ...]
    stages: Sequence[StageFiles]
    options: Table
    provenance: Table
    parameters: Table = field(default_factory=dict)  # of requests, by name
    further_outputs: Sequence[Table] = ()


def write_route(out: Path, draft: RouteDraft) -> Path:
    """Write the route's next version and return its directory."""
    folder = out / draft.route
    folder.mkdir(parents=True, exist_ok=True)
    version = _next_version(folder)
    partial = folder / f".{version}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for stage in draft.stages:
            shutil.copyfile(stage.onnx, partial / f"{stage.name}.onnx")
            text = json.dumps(stage.description, indent=2) + "\n"
            (partial / f"{stage.name}.json").write_text(text)
        (partial / "route.toml").write_text(to_toml(_manifest(draft, version, partial)))
        read_manifest(partial)
        partial.rename(folder / version)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder / version


def describe_making(repository: Path = REPOSITORY) -> dict[str, Any]:
    """Date, commit and package versions, for the provenance of every recipe."""
    packages = ("torch", "numpy", "onnx", "onnxruntime")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(repository),
        "python": platform.python_version(),
        **{package: package_version(package) for package in packages},
    }


def to_toml(table: Table) -> str:
    """Scalars, lists of scalars, tables and lists of tables; a value of None is left out."""
    return "\n".join(_lines(table, ())) + "\n"


def _manifest(draft: RouteDraft, version: str, folder: Path) -> Table:
    height, width, *channels = draft.shape
    return {
        "format": FORMAT,
        "route": draft.route,
        "version": version,
        "task": draft.task,
        "pipeline": draft.pipeline,
        "description": draft.description,
        "certificate": "none",
        "expected_macs": round(draft.expected_macs, 1),
        "labels": list(draft.labels),
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, *draft.shape]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(draft.labels)]},
            *draft.further_outputs,
        ],
        "picture": {
            "input": "image",
            "height": height,
            "width": width,
            "channels": channels[0] if channels else 1,
        },
        "stages": [
            {
                "name": stage.name,
                "file": f"{stage.name}.onnx",
                "macs": stage.macs,
                "max_batch": stage.max_batch,
                "temperature": stage.temperature,
                "threshold": stage.threshold,
            }
            for stage in draft.stages
        ],
        "parameters": draft.parameters,
        "options": draft.options,
        "provenance": draft.provenance,
        "files": {path.name: _file_entry(path) for path in sorted(folder.iterdir())},
    }


def _file_entry(path: Path) -> Table:
    content = path.read_bytes()
    return {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _next_version(folder: Path) -> str:
    taken = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    return str(max(taken, default=0) + 1)


def _commit(repository: Path) -> str:
    """The commit checked out, marked when files differ from it; "unknown" outside a repository."""
    git = ["git", "-C", str(repository)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        )
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changes.stdout else "")


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
