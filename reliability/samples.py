"""Inputs with their right answers, computed without a server, row by row.

Takes every route of a models directory that has one input. `stages` holds the answer of each stage
on a row's way to the last one, because a deadline or an energy budget may end it at any of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from core.datatypes import DATATYPES
from core.devices.onnx import OnnxDevice
from core.manifest import Manifest, TensorSpec, read_manifest
from core.messages import NO_CONTROLS
from core.parameters import find_defaults
from routes.loading import find_routes, load_route
from routes.offline import run_offline
from routes.walk import UNREACHABLE_CONFIDENCE

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]
WORDS = (b"a", b"b", b"", b"a longer word")


class Sample(NamedTuple):
    """One row of input, its final answer and the answers of the stages before."""

    manifest: Manifest
    spec: TensorSpec
    row: Array
    right: Outputs
    stages: Mapping[str, Outputs]

    @property
    def route(self) -> str:
        return self.manifest.route

    @property
    def shape(self) -> list[int]:
        return [1, *self.row.shape]


def make_samples(
    root: Path, count: int, seed: int = 0, controls: Mapping[str, float] = NO_CONTROLS
) -> list[Sample]:
    """`count` samples of each route with one input; of a route with several versions the newest."""
    newest = {path.parent: path for path in sorted(find_routes(root), key=lambda p: int(p.name))}
    found: list[Sample] = []
    for directory in newest.values():
        found += _sample_route(directory, count, seed, controls)
    return found


def _sample_route(
    directory: Path, count: int, seed: int, controls: Mapping[str, float]
) -> list[Sample]:
    if len(read_manifest(directory).inputs) != 1:
        return []
    device = OnnxDevice()
    route = load_route(directory, device)
    (spec,) = route.manifest.inputs
    rows = make_rows(spec, count, seed)
    given = rows
    if spec.datatype == "BYTES":
        given = np.vectorize(bytes.decode, otypes=[object])(rows)  # as endpoints give it
    inputs = {spec.name: given}
    defaults = find_defaults(route.manifest.parameters)
    everywhere = {**defaults, "min_confidence": UNREACHABLE_CONFIDENCE}
    walked = run_offline(route.pipeline, inputs, device, everywhere)
    ran = run_offline(route.pipeline, inputs, device, {**defaults, **controls})
    samples: list[Sample] = []
    for row, whole, asked in zip(rows, walked, ran, strict=True):
        assert asked.outcome is not None
        stages = {
            step.answer.exit: step.answer.outputs
            for step in (*whole.steps, *asked.steps)
            if step.answer is not None
        }
        samples.append(Sample(route.manifest, spec, row, asked.outcome.outputs, stages))
    return samples


def make_rows(spec: TensorSpec, count: int, seed: int) -> Array:
    """Seeded rows: half of them noise, which goes on to later stages, half of them smooth."""
    shape = [count, *(3 if size < 0 else size for size in spec.shape[1:])]
    if spec.datatype == "BYTES":
        words = np.empty(shape, dtype=np.object_)
        words.reshape(-1)[:] = [WORDS[n % len(WORDS)] for n in range(words.size)]
        return words
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, shape)
    slopes = np.linspace(0, 255, int(np.prod(shape[1:]))).reshape(shape[1:])
    noise[::2] = slopes * rng.random((len(noise[::2]), *[1] * (len(shape) - 1)))
    noise.reshape(count, -1)[:, 0] = 0  # no picture of a test's own meaning
    return noise.astype(DATATYPES[spec.datatype])


def stack(samples: Sequence[Sample], name: str) -> Array:
    """An output of several rows, as a server answers it."""
    return np.stack([sample.right[name] for sample in samples])
