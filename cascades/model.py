"""A single model with outputs of its own: regression, embeddings, several labels at once, boxes.

Its answers are the model's outputs as they are; there is no confidence, so it is 1. Outputs may
differ in size from row to row. A row with an output that is not finite fails alone. Classifiers are
`single`, which calibrates and names classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from core.classifiers.route import read_inputs, read_outputs
from core.columns import Steps
from core.devices.interface import Device
from core.devices.runnable import read_runnable
from core.errors import ModelDirectoryError
from core.messages import Array, Batch, Outcomes
from core.ragged import run_session


@dataclass(frozen=True, slots=True)
class ModelStage:
    """The model. `run` is re-entrant: it keeps no state."""

    name: str
    session: onnxruntime.InferenceSession
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    macs: int

    def run(self, rows: Batch) -> Steps:
        feed = {name: rows.inputs[name] for name in self.input_names}
        found = run_session(self.session, self.output_names, feed)
        count = len(found[0])
        sound = np.ones(count, dtype=np.bool_)
        for values in found:
            sound &= _find_finite(values)
        outputs = dict(zip(self.output_names, found, strict=True))
        answers = Outcomes(outputs, np.ones(count), 0, (self.name,))
        return Steps(count, self.macs, answers, None if sound.all() else sound)


@dataclass(frozen=True, slots=True)
class Model:
    """A pipeline of one stage."""

    digest: bytes
    first: str
    stages: Mapping[str, ModelStage]


def _find_finite(values: Array) -> npt.NDArray[np.bool_]:
    """Return whether each row of an output [N, ...], or of a list of N rows, is finite."""
    if isinstance(values, np.ndarray):
        if not np.issubdtype(values.dtype, np.floating):
            return np.ones(len(values), dtype=np.bool_)
        return np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
    return np.array([bool(_find_finite(row[None])[0]) for row in values], dtype=np.bool_)


def build(directory: Path, device: Device) -> Model:
    """Open the model, and compare its tensors with the route's. Raises ModelDirectoryError."""
    manifest = read_runnable(directory, device)
    if len(manifest.stages) != 1:
        raise ModelDirectoryError(
            f"{directory}: pipeline model needs exactly 1 stage; it has {len(manifest.stages)}"
        )
    if manifest.options:
        raise ModelDirectoryError(f"{directory}: options: {sorted(manifest.options)} given, none")
    (spec,) = manifest.stages
    if spec.threshold is not None:
        raise ModelDirectoryError(f"{directory}: the last stage {spec.name} has a threshold")
    session = device.open(directory / spec.file)
    for what, declared, found in (
        ("inputs", manifest.inputs, read_inputs(session)),
        ("outputs", manifest.outputs, read_outputs(session)),
    ):
        wanted = {one.name: (one.datatype, one.shape) for one in declared}
        if wanted != found:
            raise ModelDirectoryError(
                f"{directory / spec.file}: {what} are {found}; the route declares {wanted}"
            )
    stage = ModelStage(
        spec.name,
        session,
        tuple(one.name for one in manifest.inputs),
        tuple(one.name for one in manifest.outputs),
        spec.macs,
    )
    return Model(manifest.digest, spec.name, {spec.name: stage})
