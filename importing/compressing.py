"""`sparing compress`: the int8 twin of one model, or of every stage of a route that exists.

Without data a model is calibrated on nothing, so data is required. A route becomes its next
version, with thresholds and temperatures as they were: the difference of its answers is reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from core.devices.onnx import OnnxDevice
from core.manifest import Manifest, StageSpec, read_manifest
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, Feed, Tensor, open_graph
from importing.onnx_files.reading import read_model
from importing.quantising import SUFFIX, can_quantise, quantise_stage
from importing.samples import Samples, read_pictures, read_samples
from importing.stage_files import StageFile, cast_rows, run_rows
from importing.timing import measure_in_turns
from routes.loading import load_route
from routes.writing import write_version


@dataclass(frozen=True, slots=True)
class Compressed:
    """One stage before and after."""

    name: str
    us_before: float  # CPU time of a row, measured in turns
    us_after: float
    bytes_before: int
    bytes_after: int
    agreement: float  # the share of rows that get the same class; of other models, correlation

    @property
    def speedup(self) -> float:
        return self.us_before / self.us_after

    def describe(self) -> str:
        """Return one sentence for the terminal."""
        verdict = (
            f"{self.speedup:.1f} times as fast"
            if self.speedup > 1.05
            else ("not faster on this CPU")
        )
        return (
            f"{self.name}: {verdict} ({self.us_before:.0f} → {self.us_after:.0f} µs a row), "
            f"{self.bytes_before / 1000:,.0f} → {self.bytes_after / 1000:,.0f} kB, "
            f"{self.agreement:.2%} of the answers are the same"
        )


def compress_model(path: Path, data: str, out: Path) -> Compressed:
    """Write the int8 twin of a model to `out`. Raises ImportFault; then nothing is written."""
    if out.exists():
        raise ImportFault(f"--out {out}: exists already")
    source = read_model(path)
    stage = _make_stage(path.stem, source.proto)
    rows = cast_rows(stage.inputs, _read_rows(read_samples(data), stage.inputs), f"--data {data}")
    twin = _make_twin(stage, rows)
    found = _compare(stage, twin, rows)
    out.write_bytes(twin.raw)
    return found


def compress_route(directory: Path, data: str, out: Path) -> tuple[Path, list[Compressed]]:
    """Write the next version of a route with int8 stages where they are faster, and return its
    directory. Raises ImportFault if no stage gains.
    """
    manifest = read_manifest(directory)
    samples = read_samples(data)
    if manifest.picture is not None:
        size = manifest.picture
        samples = read_pictures(samples, size.height, size.width, size.channels)
    inputs = tuple(Tensor(one.name, one.datatype, one.shape) for one in manifest.inputs)
    rows = cast_rows(inputs, _read_rows(samples, inputs), f"--data {data}")
    twins: dict[str, StageFile] = {}
    found: list[Compressed] = []
    for spec in manifest.stages:
        stage = _open_stage(directory, spec, inputs)
        if stage is None or not can_quantise(stage):
            continue
        twin = _make_twin(stage, rows)
        compared = _compare(stage, twin, rows)
        found.append(compared)
        if compared.speedup > 1:
            twins[spec.name] = twin
    if not twins:
        raise ImportFault(f"{directory}: no stage is faster in int8 on this CPU")
    return _write(directory, manifest, twins, out), found


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


def _compare(stage: StageFile, twin: StageFile, rows: Feed) -> Compressed:
    some = {name: array[:64] for name, array in rows.items()}
    times = measure_in_turns({stage.name: stage, twin.name: twin}, some)
    before, after = (run_rows(one.open(), rows, batches=one.batches)[-1] for one in (stage, twin))
    return Compressed(
        stage.name,
        times[stage.name],
        times[twin.name],
        len(stage.raw),
        len(twin.raw),
        _agree(before, after),
    )


def _agree(before: Array, after: Array) -> float:
    if before.ndim == 2 and before.shape[1] > 1:
        return float((before.argmax(axis=1) == after.argmax(axis=1)).mean())
    return float(np.corrcoef(before.ravel(), after.ravel())[0, 1])


def _read_rows(samples: Samples, inputs: tuple[Tensor, ...]) -> Mapping[str, Array]:
    if not samples.files:
        return samples.inputs
    shape = inputs[0].shape
    if len(inputs) != 1 or inputs[0].datatype != "UINT8" or len(shape) not in {3, 4}:
        raise ImportFault(
            f"--data {samples.source}: is a folder of pictures, the model takes {inputs[0]}; "
            "import it first"
        )
    channels = 1 if len(shape) == 3 else 3
    return read_pictures(samples, shape[1], shape[2], channels).inputs


def _write(directory: Path, manifest: Manifest, twins: Mapping[str, StageFile], out: Path) -> Path:
    def fill(folder: Path, version: str) -> dict[str, Any]:
        table = manifest.model_dump(mode="json", exclude_none=True)
        table["version"] = version
        for entry in table["stages"]:
            twin = twins.get(entry["name"])
            raw = twin.raw if twin else (directory / entry["file"]).read_bytes()
            if twin is not None:
                entry["file"] = f"{entry['name']}{SUFFIX}.onnx"
            (folder / entry["file"]).write_bytes(raw)
        table["provenance"] = {
            **manifest.provenance,
            "compressed": sorted(twins),
            "compressed_from": manifest.version,
        }
        return {key: value for key, value in table.items() if value != {}}

    device = OnnxDevice()
    return write_version(out, manifest.route, fill, lambda folder: load_route(folder, device))
