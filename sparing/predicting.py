"""Classifies pictures for `sparing predict`, with a running server or in this process.

Both ways read pictures and stop at stages in the same way. In this process there is no queue, no
cache and no deadline. `serving.pictures` decodes pictures; `routes.offline` runs the route.
"""

import base64
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from serving.oip.label_lists import DEFAULT_VIEW, describe_labels
from serving.pictures.pictures import Row, open_picture, read_row
from sparing.access import NO_ACCESS, Access
from sparing.client import request_json
from sparing.failure import Failure

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
REQUEST_PICTURES = 32  # in one request, for an even progress
REQUEST_BYTES = 8 * 2**20  # of base64 in one request; half of a server's limit, by default

Report = Callable[[int], object]  # gets how many pictures are done


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one picture, and its cost."""

    picture: Path
    label: str  # names, or the numbers of labels without names
    confidence: float
    exit: str
    stopped_by: str
    macs: int
    latency_ms: float


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """Return the files, and in place of each folder the PNG and JPEG files below it, in order of
    name. Raises Failure if a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = [one for one in sorted(path.rglob("*")) if one.suffix.lower() in SUFFIXES]
        if not below:
            raise Failure(f"{path}: holds no PNG or JPEG files")
        found += below
    return found


def _say_nothing(_: int) -> None:
    """Report no progress."""


def predict_with_server(
    url: str,
    route: str,
    pictures: Sequence[Path],
    timeout_ms: float | None,
    access: Access = NO_ACCESS,
    report: Report = _say_nothing,
) -> list[Prediction]:
    """Send the pictures as JSON lists of base64 files, many in one request. Raises Failure."""
    path = f"/v1/routes/{quote(route, safe=':')}/predict"
    if timeout_ms is not None:
        path += "?" + urlencode({"timeout_ms": timeout_ms})
    predictions: list[Prediction] = []
    for part, files in _group(pictures):
        answer = request_json(url, path, json.dumps(files).encode(), "application/json", access)
        predictions += [
            _from_json(picture, facts)
            for picture, facts in zip(part, answer["answers"], strict=True)
        ]
        report(len(predictions))
    return predictions


def _group(pictures: Iterable[Path]) -> Iterator[tuple[list[Path], list[str]]]:
    """Yield the pictures of each request, and their files in base64."""
    part: list[Path] = []
    files: list[str] = []
    size_bytes = 0
    for picture in pictures:
        file = base64.b64encode(_read(picture)).decode()
        if part and (len(part) == REQUEST_PICTURES or size_bytes + len(file) > REQUEST_BYTES):
            yield part, files
            part, files, size_bytes = [], [], 0
        part.append(picture)
        files.append(file)
        size_bytes += len(file)
    yield part, files


def predict_here(
    roots: Sequence[Path],
    route: str,
    pictures: Sequence[Path],
    max_pixels: int,
    precision: Precision = "auto",
    report: Report = _say_nothing,
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
    predictions = []
    for picture in pictures:
        row = _decode(picture, spec, max_pixels)
        predictions.append(_predict_row(loaded, device, spec, picture, row))
        report(len(predictions))
    return predictions


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
    """Return the label's name, or its number if the route has no names for labels; of several
    labels those that hold.
    """
    facts = describe_labels(outcome.outputs, manifest.labels, DEFAULT_VIEW)
    if "labels" in facts:
        return _join(facts["labels"])
    label = outcome.outputs.get("label")
    if label is None:
        raise Failure(f"--route: route {manifest.route} returns no label")
    return manifest.labels[int(label)] if manifest.labels else str(int(label))


def _join(labels: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(one.get("label_name", one["label"])) for one in labels) or "–"


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
    label = str(facts.get("label_name", facts.get("label", "–")))
    if "labels" in facts:
        label = _join(facts["labels"])
    return Prediction(
        picture=picture,
        label=label,
        confidence=float(facts["confidence"]),
        exit=str(facts["exit"]),
        stopped_by=str(facts["stopped_by"]),
        macs=int(facts["macs"]),
        latency_ms=float(facts["latency_ms"]),
    )
