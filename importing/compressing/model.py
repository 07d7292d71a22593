"""`sparing compress`: the int8 twin of one model, or of every stage of a route that exists.

Half of the rows calibrate, the other half judges. A route becomes its next version, with thresholds
and temperatures as they were. What was measured or proved of the float stages does not hold for
it, so these entries are left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from core.devices.onnx import OnnxDevice
from core.manifest import Manifest, StageSpec, read_manifest
from importing.choosing import MAX_DROP_AT_ALL, MIN_SAVING
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, Feed, Tensor, open_graph
from importing.onnx_files.reading import read_model
from importing.quantising import SUFFIX, can_quantise, quantise_stage
from importing.samples import Samples, read_pictures, read_samples, split_rows
from importing.stage_files import StageFile, cast_rows, run_rows
from importing.timing import measure_in_turns
from routes.loading import load_route
from routes.writing import write_version

MIN_SPEEDUP = 1 / (1 - MIN_SAVING)  # less is within the noise of the clock
_MEASURED = re.compile(r"accuracy|^(reached|out_of_fold|us_per)_")  # of the float stages


@dataclass(frozen=True, slots=True)
class Compressed:
    """One stage before and after."""

    name: str
    us_before: float  # CPU time of a row, measured in turns
    us_after: float
    bytes_before: int
    bytes_after: int
    agreement: float  # the share of rows that get the same class; of other models, correlation
    loss: float  # of accuracy, 0 to 1; where the labels are no classes, of agreement

    @property
    def speedup(self) -> float:
        return self.us_before / self.us_after

    @property
    def is_faster(self) -> bool:
        """Whether the int8 file saves more time than the clock's noise."""
        return self.speedup >= MIN_SPEEDUP

    @property
    def is_accurate(self) -> bool:
        """Whether the int8 file loses little enough; a loss that is NaN is too much."""
        return self.loss <= MAX_DROP_AT_ALL

    def describe(self) -> str:
        """Return one sentence for the terminal."""
        verdict = (
            f"{self.speedup:.1f} times as fast" if self.is_faster else ("not faster on this CPU")
        )
        return (
            f"{self.name}: {verdict} ({self.us_before:.0f} → {self.us_after:.0f} µs a row), "
            f"{self.bytes_before / 1000:,.0f} → {self.bytes_after / 1000:,.0f} kB, "
            f"{self.agreement:.2%} of the answers are the same, {self.loss * 100:.1f} points lost"
        )


def compress_model(path: Path, data: str, out: Path) -> Compressed:
    """Write the int8 twin of a model to `out`. Raises ImportFault; then nothing is written."""
    if out.exists():
        raise ImportFault(f"--out {out}: exists already")
    source = read_model(path)
    stage = _make_stage(path.stem, source.proto)
    parts = _split(_read_rows(read_samples(data), stage.inputs), stage.inputs)
    twin = _make_twin(stage, parts.calibrating)
    found = _compare(stage, twin, parts)
    out.write_bytes(twin.raw)
    return found


def compress_route(directory: Path, data: str, out: Path) -> tuple[Path, list[Compressed]]:
    """Write the next version of a route with int8 stages where they are faster, and return its
    directory. Raises ImportFault if no stage gains time without losing accuracy.
    """
    manifest = read_manifest(directory)
    samples = read_samples(data)
    if manifest.picture is not None:
        size = manifest.picture
        samples = read_pictures(samples, size.height, size.width, size.channels)
    inputs = tuple(Tensor(one.name, one.datatype, one.shape) for one in manifest.inputs)
    parts = _split(_read_rows(samples, inputs), inputs)
    twins: dict[str, StageFile] = {}
    found: list[Compressed] = []
    for spec in manifest.stages:
        stage = _open_stage(directory, spec, inputs)
        if stage is None or not can_quantise(stage):
            continue
        twin = _make_twin(stage, parts.calibrating)
        compared = _compare(stage, twin, parts)
        found.append(compared)
        if compared.is_faster and compared.is_accurate:
            twins[spec.name] = twin
    if not twins:
        raise ImportFault(f"{directory}: {_explain_none(found)}")
    return _write(directory, manifest, twins, out), found


@dataclass(frozen=True, slots=True)
class _Parts:
    """The rows that calibrate, and others that judge."""

    calibrating: Feed
    judging: Feed
    labels: Array  # of the rows that judge
    are_classes: bool


def _split(samples: Samples, inputs: tuple[Tensor, ...]) -> _Parts:
    rows = cast_rows(inputs, samples.inputs, f"--data {samples.source}")
    calibrate, judge = split_rows(samples, seed=0)
    return _Parts(
        {name: array[calibrate] for name, array in rows.items()},
        {name: array[judge] for name, array in rows.items()},
        samples.labels[judge],
        samples.are_classes,
    )


def _explain_none(found: list[Compressed]) -> str:
    faster = [one for one in found if one.is_faster]
    if not faster:
        return "no stage is faster in int8 on this CPU"
    losses = ", ".join(f"{one.name} loses {one.loss * 100:.1f} points" for one in faster)
    return f"in int8 {losses}; at most {MAX_DROP_AT_ALL * 100:.1f} are allowed"


def _make_stage(name: str, model: onnx.ModelProto) -> StageFile:
    graph = open_graph(model)
    raw = model.SerializeToString()
    batches = all(tensor.shape and tensor.shape[0] < 0 for tensor in graph.inputs)
    return StageFile(name, raw, graph.inputs, graph.outputs, 0, 0, batches, "", ())


def _open_stage(directory: Path, spec: StageSpec, inputs: tuple[Tensor, ...]) -> StageFile | None:
    """Return the stage, or None where it takes what another stage makes, or is no ONNX file."""
    if not spec.file.endswith(".onnx"):
        return None
    stage = _make_stage(spec.name, read_model(directory / spec.file).proto)
    taken = {tensor.name for tensor in stage.inputs}
    return stage if taken == {tensor.name for tensor in inputs} else None


def _make_twin(stage: StageFile, rows: Feed) -> StageFile:
    if not can_quantise(stage):
        raise ImportFault(f"{stage.name}: has no operator that int8 makes faster")
    return quantise_stage(stage, rows)


def _compare(stage: StageFile, twin: StageFile, parts: _Parts) -> Compressed:
    rows = parts.judging
    some = {name: array[:64] for name, array in rows.items()}
    times = measure_in_turns({stage.name: stage, twin.name: twin}, some)
    before, after = (run_rows(one.open(), rows, batches=one.batches)[-1] for one in (stage, twin))
    agreement = _agree(before, after)
    loss = 1 - agreement
    if parts.are_classes and before.ndim == 2 and before.shape[1] > parts.labels.max():
        right, still_right = (one.argmax(axis=1) == parts.labels for one in (before, after))
        loss = float(right.mean() - still_right.mean())
    return Compressed(
        stage.name,
        times[stage.name],
        times[twin.name],
        len(stage.raw),
        len(twin.raw),
        agreement,
        loss,
    )


def _agree(before: Array, after: Array) -> float:
    if before.ndim == 2 and before.shape[1] > 1:
        return float((before.argmax(axis=1) == after.argmax(axis=1)).mean())
    return float(np.corrcoef(before.ravel(), after.ravel())[0, 1])


def _read_rows(samples: Samples, inputs: tuple[Tensor, ...]) -> Samples:
    if not samples.files:
        return samples
    shape = inputs[0].shape
    if len(inputs) != 1 or inputs[0].datatype != "UINT8" or len(shape) not in {3, 4}:
        raise ImportFault(
            f"--data {samples.source}: is a folder of pictures, the model takes {inputs[0]}; "
            "import it first"
        )
    channels = 1 if len(shape) == 3 else 3
    return read_pictures(samples, shape[1], shape[2], channels)


def _write(directory: Path, manifest: Manifest, twins: Mapping[str, StageFile], out: Path) -> Path:
    def fill(folder: Path, version: str) -> dict[str, Any]:
        table = manifest.model_dump(mode="json", exclude_none=True)
        table["version"] = version
        table["certificate"] = "none"
        for entry in table["stages"]:
            twin = twins.get(entry["name"])
            raw = twin.raw if twin else (directory / entry["file"]).read_bytes()
            if twin is not None:
                entry["file"] = f"{entry['name']}{SUFFIX}.onnx"
            (folder / entry["file"]).write_bytes(raw)
        table["provenance"] = {
            **{
                key: value
                for key, value in manifest.provenance.items()
                if not _MEASURED.search(key)
            },
            "compressed": sorted(twins),
            "compressed_from": manifest.version,
        }
        return {key: value for key, value in table.items() if value != {}}

    device = OnnxDevice()
    return write_version(out, manifest.route, fill, lambda folder: load_route(folder, device))
