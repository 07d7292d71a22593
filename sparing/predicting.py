"""Classifies pictures for `sparing predict`, with a running server or in this process.

Both ways read pictures and stop at stages in the same way. In this process there is no queue, no
cache and no deadline. `serving.pictures` decodes pictures; `routes.offline` runs the route.
"""

import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from core.devices.interface import Precision
from core.devices.onnx import OnnxDevice
from core.errors import SparingError, StageFailed, UnknownRoute
from core.manifest import Manifest, PictureSpec
from core.messages import Outcome
from core.parameters import find_defaults
from routes.loading import LoadedRoute, find_routes, load_route
from routes.offline import run_offline
from serving.pictures.pictures import Row, open_picture, read_row
from sparing.client import request_json
from sparing.failure import Failure


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one picture, and its cost."""

    picture: Path
    label: str
    confidence: float
    exit: str
    stopped_by: str
    macs: int
    latency_ms: float


def predict_with_server(
    url: str, route: str, pictures: Sequence[Path], timeout_ms: float | None
) -> list[Prediction]:
    """Send all pictures in one request, as a JSON list of base64 files. Raises Failure."""
    files = [base64.b64encode(_read(picture)).decode() for picture in pictures]
    path = f"/v1/routes/{quote(route, safe=':')}/predict"
    if timeout_ms is not None:
        path += "?" + urlencode({"timeout_ms": timeout_ms})
    answer = request_json(url, path, json.dumps(files).encode(), "application/json")
    return [
        _from_json(picture, facts)
        for picture, facts in zip(pictures, answer["answers"], strict=True)
    ]


def predict_here(
    roots: Sequence[Path],
    route: str,
    pictures: Sequence[Path],
    max_pixels: int,
    precision: Precision = "auto",
) -> list[Prediction]:
    """Classify the pictures one by one with the newest version of the route in the directories.

    Raises Failure if the route takes no pictures or a picture cannot be read, UnknownRoute if no
    directory holds the route.
    """
    device = OnnxDevice(precision=precision)
    loaded = load_route(find_newest(roots, route), device)
    spec = loaded.manifest.picture
    if spec is None:
        raise Failure(f"--route: route {route} does not take pictures")
    rows = [_decode(picture, spec, max_pixels) for picture in pictures]
    return [
        _predict_row(loaded, device, spec, picture, row)
        for picture, row in zip(pictures, rows, strict=True)
    ]


def find_newest(roots: Sequence[Path], route: str) -> Path:
    """Return the directory of the route's highest version. Raises UnknownRoute."""
    directories = [directory for root in roots for directory in find_routes(root)]
    versions = [
        directory
        for directory in directories
        if directory.parent.name == route and directory.name.isdecimal()
    ]
    if not versions:
        names = ", ".join(sorted({directory.parent.name for directory in directories})) or "none"
        raise UnknownRoute(f"--route: given {route!r}, the directories hold {names}")
    return max(versions, key=lambda directory: int(directory.name))


def _predict_row(
    loaded: LoadedRoute, device: OnnxDevice, spec: PictureSpec, picture: Path, row: Row
) -> Prediction:
    began_s = time.perf_counter()
    defaults = find_defaults(loaded.manifest.parameters)
    (done,) = run_offline(loaded.pipeline, {spec.input: row[None]}, device, defaults)
    latency_ms = (time.perf_counter() - began_s) * 1e3
    if done.outcome is None:
        raise StageFailed(f"{picture}: stage {done.stages[-1]} gave no answer")
    ran_last = done.stages[-1] == loaded.manifest.stages[-1].name
    return Prediction(
        picture=picture,
        label=_name(loaded.manifest, done.outcome),
        confidence=done.outcome.confidence,
        exit=done.outcome.exit,
        stopped_by="last_stage" if ran_last else "confidence",
        macs=done.macs,
        latency_ms=latency_ms,
    )


def _name(manifest: Manifest, outcome: Outcome) -> str:
    """Return the label's name, or its number if the route has no names for labels."""
    label = outcome.outputs.get("label")
    if label is None:
        raise Failure(f"--route: route {manifest.route} returns no label")
    return manifest.labels[int(label)] if manifest.labels else str(int(label))


def _decode(picture: Path, spec: PictureSpec, max_pixels: int) -> Row:
    try:
        opened = open_picture(_read(picture), spec)
        if opened.pixels > max_pixels:
            raise Failure(
                f"{picture}: given {opened.width}×{opened.height} pixels, allowed {max_pixels}"
            )
        return read_row(opened, spec)
    except SparingError as error:
        raise Failure(f"{picture}: {str(error).removeprefix('pictures[0]: ')}") from error


def _read(picture: Path) -> bytes:
    try:
        return picture.read_bytes()
    except OSError as error:
        raise Failure(f"{picture}: {error.strerror}") from error


def _from_json(picture: Path, facts: Mapping[str, Any]) -> Prediction:
    return Prediction(
        picture=picture,
        label=str(facts.get("label_name", facts.get("label", "–"))),
        confidence=float(facts["confidence"]),
        exit=str(facts["exit"]),
        stopped_by=str(facts["stopped_by"]),
        macs=int(facts["macs"]),
        latency_ms=float(facts["latency_ms"]),
    )
