"""The manifest of a picture classifier's route, and who made it; `routes.writing` writes it."""

import json
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from core.manifest import FORMAT
from routes.writing import Table, write_version

REPOSITORY = Path(__file__).parents[2]


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
    int8: Path | None = None  # its int8 twin
    weights: Path | None = None  # safetensors, from which others may train on


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

    def fill(folder: Path, version: str) -> Table:
        for stage in draft.stages:
            shutil.copyfile(stage.onnx, folder / f"{stage.name}.onnx")
            text = json.dumps(stage.description, indent=2) + "\n"
            (folder / f"{stage.name}.json").write_text(text)
            if stage.int8 is not None:
                shutil.copyfile(stage.int8, folder / f"{stage.name}-int8.onnx")
            if stage.weights is not None:
                shutil.copyfile(stage.weights, folder / f"{stage.name}.safetensors")
        return _manifest(draft, version)

    return write_version(out, draft.route, fill)


def describe_making(repository: Path = REPOSITORY) -> dict[str, Any]:
    """Date, commit and package versions, for the provenance of every recipe."""
    packages = ("torch", "numpy", "onnx", "onnxruntime")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(repository),
        "python": platform.python_version(),
        **{package: package_version(package) for package in packages},
    }


def _manifest(draft: RouteDraft, version: str) -> Table:
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
                "int8_file": None if stage.int8 is None else f"{stage.name}-int8.onnx",
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
    }


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
