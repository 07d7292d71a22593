"""Loads a route directory: reads the manifest, builds the pipeline, and runs it once as a trial.

Every fault of a directory raises ModelDirectoryError, which names the directory and the fault, so
that a server can reject this route and serve the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.datatypes import DATATYPES
from core.devices.interface import Device
from core.devices.runnable import read_runnable
from core.errors import ModelDirectoryError
from core.manifest import Manifest, TensorSpec
from core.messages import Outcome, Pipeline
from core.parameters import find_defaults
from core.state_needs import find_state_needs
from routes.offline import run_offline
from routes.scanning import scan_routes
from routes.table import PIPELINES
from routes.walk import UNREACHABLE_CONFIDENCE, make_zero_row


@dataclass(frozen=True, slots=True)
class LoadedRoute:
    manifest: Manifest
    pipeline: Pipeline


def find_routes(root: Path) -> list[Path]:
    """List every `<root>/<route>/<version>` in name order, damaged ones too but not hidden ones."""
    return scan_routes(root).directories


def load_route(directory: Path, device: Device) -> LoadedRoute:
    """Verify, build and try the route. Raises ModelDirectoryError."""
    manifest = read_runnable(directory, device)
    place = directory.resolve()
    if (place.parent.name, place.name) != (manifest.route, manifest.version):
        raise ModelDirectoryError(
            f"{directory}: route.toml says route {manifest.route}, version {manifest.version}; "
            "the directory must be <route>/<version>"
        )
    if fault := find_picture_fault(manifest):
        raise ModelDirectoryError(f"{directory}/route.toml: {fault}")
    build = PIPELINES.get(manifest.pipeline)
    if build is None:
        raise ModelDirectoryError(
            f"{directory}: pipeline {manifest.pipeline!r} given, {', '.join(PIPELINES)} are allowed"
        )
    pipeline = build(directory, device)
    if pipeline.digest != manifest.digest:
        raise ModelDirectoryError(f"{directory}: the directory changed while it was loaded")
    _smoke_test(directory, manifest, pipeline, device)
    return LoadedRoute(manifest, pipeline)


def find_picture_fault(manifest: Manifest) -> str | None:
    """Describe how `[picture]` does not fit its input; None if it does."""
    picture = manifest.picture
    if picture is None:
        return None
    spec = next((one for one in manifest.inputs if one.name == picture.input), None)
    if spec is None:
        return f"picture.input: no input {picture.input}"
    size = (picture.height, picture.width)
    shape = (-1, *size) if picture.channels == 1 else (-1, *size, 3)
    several = (-1, *shape)  # pictures in a row
    if spec.datatype == "UINT8" and spec.shape in (shape, several):
        return None
    return (
        f"picture: input {spec.name} is {spec.datatype} {list(spec.shape)}, pictures are UINT8 "
        f"{list(shape)}; sparing import writes the preprocessing into the model"
    )


def _smoke_test(directory: Path, manifest: Manifest, pipeline: Pipeline, device: Device) -> None:
    """Run one row of zeros through every stage. Raises ModelDirectoryError."""
    inputs = {name: array[None] for name, array in make_zero_row(manifest).items()}
    defaults = find_defaults(manifest.parameters)
    controls = {**defaults, "min_confidence": UNREACHABLE_CONFIDENCE}
    try:
        (row,) = run_offline(pipeline, inputs, device, controls)
        declare = find_state_needs(pipeline)
        declared_bytes = 0 if declare is None else int(declare(inputs, controls)[0])
    except Exception as error:  # a runtime may raise anything on a broken graph
        raise ModelDirectoryError(f"{directory}: the trial run failed: {error}") from error
    if row.outcome is None:
        raise ModelDirectoryError(
            f"{directory}: stage {row.stages[-1]} returns no answer for a row of zeros"
        )
    following = [step.next for step in row.steps if step.next is not None]
    state_bytes = max([one.state.size_bytes for one in following if one.state], default=0)
    if state_bytes > declared_bytes:
        raise ModelDirectoryError(
            f"{directory}: the trial run keeps {state_bytes} bytes of state, its pipeline declares "
            f"{declared_bytes}"
        )
    fault = _find_fault(manifest.outputs, row.outcome)
    if fault:
        raise ModelDirectoryError(f"{directory}: the trial run's answer: {fault}")


def _find_fault(specs: tuple[TensorSpec, ...], outcome: Outcome) -> str | None:
    """Describe how the outcome differs from the declared outputs; None if it does not."""
    outputs: Mapping[str, npt.NDArray[np.generic]] = outcome.outputs
    if set(outputs) != {spec.name for spec in specs}:
        return f"outputs {sorted(outputs)}, declared {sorted(spec.name for spec in specs)}"
    for spec in specs:
        array, shape = outputs[spec.name], spec.shape[1:]
        fits = len(shape) == array.ndim and all(
            declared in (-1, size) for declared, size in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype != DATATYPES[spec.datatype]:
            found = f"{array.dtype} {list(array.shape)}"
            return f"{spec.name} is {found}, declared {spec.datatype} {list(shape)}"
    if not 0 <= outcome.confidence <= 1:
        return f"confidence {outcome.confidence}, 0 to 1 are allowed"
    return None
