"""The int8 twins of a route that exists: its next version, whose stages have two files.

Half of the rows calibrate, the other half judges: each stage alone, then the whole route in both
precisions. Thresholds and temperatures stay; so does what was measured of the float files. A
certificate does not hold for int8 files, so the version has none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cascades.thresholds import Grades
from core.devices.onnx import OnnxDevice
from core.manifest import Manifest, StageSpec, read_manifest
from core.parameters import find_defaults
from importing.choosing import MAX_DROP_AT_ALL
from importing.compressing.comparing import Compressed, StageRows, make_twin
from importing.compressing.model import Halves, Say, halve, open_stage
from importing.compressing.recording import record_rows
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Feed, Tensor
from importing.onnx_files.reading import read_model
from importing.quantising import SUFFIX, can_quantise
from importing.samples import read_pictures, read_samples
from importing.stage_files import StageFile
from importing.verdict import compare_hits
from routes.loading import load_route
from routes.offline import run_offline
from routes.writing import write_version


@dataclass(frozen=True, slots=True)
class CompressedRoute:
    """The version that was written, its stages, and the whole route in int8 beside float."""

    directory: Path
    stages: tuple[Compressed, ...]
    int8_stages: frozenset[str]  # those that have an int8 file
    sentence: str

    def describe(self) -> list[str]:
        """Return lines for the terminal."""
        lines = [
            one.describe() + ("" if one.name in self.int8_stages else "; it has no int8 file")
            for one in self.stages
        ]
        return [*lines, self.sentence]


def compress_route(directory: Path, data: str, out: Path, say: Say = print) -> CompressedRoute:
    """Write the next version of a route, whose stages have int8 files beside the float files; `say`
    gets a clause where not all rows are read.

    A stage that loses accuracy, or becomes no smaller, has none. Raises ImportFault if no stage has
    one, or the whole route loses too much.
    """
    manifest = read_manifest(directory)
    halves = _read_halves(manifest, data, say)
    twins, found = _make_twins(directory, manifest, halves)
    if not twins:
        raise ImportFault(f"{directory}: {_explain_none(found)}")
    sentences: list[str] = []

    def check(folder: Path) -> None:
        sentences.append(_judge(folder, halves))

    written = _write(directory, manifest, twins, out, check)
    return CompressedRoute(written, tuple(found), frozenset(twins), sentences[-1])


def _read_halves(manifest: Manifest, data: str, say: Say) -> Halves:
    samples = read_samples(data)
    if manifest.picture is not None:
        size = manifest.picture
        samples = read_pictures(samples, size.height, size.width, size.channels)
    inputs = tuple(Tensor(one.name, one.datatype, one.shape) for one in manifest.inputs)
    return halve(samples, inputs, say)


def _make_twins(
    directory: Path, manifest: Manifest, halves: Halves
) -> tuple[dict[str, StageFile], list[Compressed]]:
    calibrating = record_rows(directory, halves.calibrating)
    judging = record_rows(directory, halves.judging)
    taken = {spec.file for spec in manifest.stages}
    twins: dict[str, StageFile] = {}
    found: list[Compressed] = []
    for spec in manifest.stages:
        if spec.file not in calibrating or spec.file not in judging:
            continue
        stage = open_stage(spec.name, read_model(directory / spec.file).proto)
        if not can_quantise(stage) or _name_twin(spec) in taken:
            continue
        alike = _count(judging[spec.file]) == len(halves.labels)
        labels = halves.judged if alike else None
        twin, compared = make_twin(
            stage, StageRows(calibrating[spec.file], judging[spec.file], labels)
        )
        found.append(compared)
        if compared.is_accurate and compared.bytes_after < compared.bytes_before:
            twins[spec.name] = twin
    return twins, found


def _name_twin(spec: StageSpec) -> str:
    return f"{spec.name}{SUFFIX}.onnx"


def _count(rows: Feed) -> int:
    return len(next(iter(rows.values())))


def _explain_none(found: list[Compressed]) -> str:
    if not found:
        return "no stage can be quantised"
    faults = [
        f"{one.name} is no smaller"
        if one.is_accurate
        else f"{one.name} loses {one.loss * 100:.1f} points, at most "
        f"{MAX_DROP_AT_ALL * 100:.1f} are allowed"
        for one in found
    ]
    return f"in int8 {'; '.join(faults)}"


def _judge(folder: Path, halves: Halves) -> str:
    """Answer the rows that judge with the float files and with the int8 files."""
    devices = [OnnxDevice(precision="float32"), OnnxDevice(precision="int8")]
    before, after = (_find_hits(folder, device, halves) for device in devices)
    if before is None or after is None:
        return "The whole route was not judged: its answers or the labels are no classes."
    difference, low, high = compare_hits(after, before)
    if difference < -MAX_DROP_AT_ALL:
        raise ImportFault(
            f"the whole route loses {-difference * 100:.1f} points in int8; at most "
            f"{MAX_DROP_AT_ALL * 100:.1f} are allowed"
        )
    return (
        f"The route: {before.mean():.2%} correct in float, {after.mean():.2%} in int8; it differs "
        f"by {difference * 100:+.2f} points, 95 % interval {low * 100:+.2f} to {high * 100:+.2f}. "
        "A server runs the faster file of each stage."
    )


def _find_hits(folder: Path, device: OnnxDevice, halves: Halves) -> Grades | None:
    """Return which rows are right; None if answers or labels are no classes."""
    if not halves.are_classes:
        return None
    loaded = load_route(folder, device)
    defaults = find_defaults(loaded.manifest.parameters)
    outcomes = [
        row.outcome for row in run_offline(loaded.pipeline, halves.judging, device, defaults)
    ]
    if any(one is None or "label" not in one.outputs for one in outcomes):
        return None
    labels = np.array([int(one.outputs["label"]) for one in outcomes if one is not None])
    return np.asarray(labels == halves.labels, dtype=np.float64)


def _write(
    directory: Path,
    manifest: Manifest,
    twins: Mapping[str, StageFile],
    out: Path,
    check: Callable[[Path], None],
) -> Path:
    def fill(folder: Path, version: str) -> dict[str, Any]:
        table = manifest.model_dump(mode="json", exclude_none=True)
        table["version"] = version
        table["certificate"] = "none"
        for file in manifest.files:
            (folder / file).write_bytes((directory / file).read_bytes())
        for spec, entry in zip(manifest.stages, table["stages"], strict=True):
            _add_twin(folder, spec, entry, twins.get(spec.name))
        table["provenance"] = {
            **manifest.provenance,
            "int8_stages": sorted(twins),
            "int8_from_version": manifest.version,
        }
        return {key: value for key, value in table.items() if value != {}}

    return write_version(out, manifest.route, fill, check)


def _add_twin(folder: Path, spec: StageSpec, entry: dict[str, Any], twin: StageFile | None) -> None:
    """Replace the stage's int8 file by a new one; None: it has none."""
    entry.pop("int8_file", None)
    if spec.int8_file is not None:
        (folder / spec.int8_file).unlink()
    if twin is not None:
        entry["int8_file"] = _name_twin(spec)
        (folder / entry["int8_file"]).write_bytes(twin.raw)
