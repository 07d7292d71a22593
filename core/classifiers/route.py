"""Checks a classifier's route directory: `route.toml`, and each ONNX file's inputs and outputs.

Every fault raises ModelDirectoryError, one sentence that names the directory. Each kind of pipeline
defines its own options, and which stage sends rows where.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import onnxruntime
from pydantic import BaseModel, ConfigDict, ValidationError

from core.classifiers.classifier import ClassifierHead, FinalStage
from core.classifiers.scores import Score
from core.datatypes import DATATYPES, OF_ONNX
from core.devices.interface import Device
from core.devices.runnable import read_runnable
from core.errors import ModelDirectoryError
from core.manifest import Manifest, StageSpec, TensorSpec
from core.messages import Array

Tensor = tuple[str, tuple[int, ...]]  # the protocol's datatype, and the shape with -1 for any size
Tensors = Mapping[str, Tensor]

TRIAL_ROWS = 4
TRIAL_LABELS = 12  # fewer logits from 0 to 1 may be chance
PROBABILITY_TOLERANCE = 1e-3

M = TypeVar("M", bound=BaseModel)


class Options(BaseModel):
    """`[options]` of a kind that only chooses its score."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    score: Literal["entropy", "max_probability", "difference"] = "entropy"


@dataclass(frozen=True, slots=True)
class ClassifierRoute:
    """A route directory, its manifest, the number of classes that it declares, and its device."""

    directory: Path
    manifest: Manifest
    classes: int  # or labels, where several hold at once
    device: Device
    several: bool = False

    @property
    def inputs(self) -> Tensors:
        return _declare(self.manifest.inputs)

    def check_stage_count(self, fewest: int, most: int | None = None) -> None:
        """Check the number of stages, and that all but the last have a threshold.

        `most` None: any number from `fewest` on. Raises ModelDirectoryError.
        """
        specs = self.manifest.stages
        if len(specs) < fewest or (most is not None and len(specs) > most):
            allowed = f"exactly {fewest}" if fewest == most else f"at least {fewest}"
            noun = "stage" if fewest == 1 else "stages"
            raise self.make_error(
                f"pipeline {self.manifest.pipeline} needs {allowed} {noun}; it has {len(specs)}"
            )
        for spec in specs[:-1]:
            if spec.threshold is None:
                raise self.make_error(f"stage {spec.name} has no threshold")
        if specs[-1].threshold is not None:
            raise self.make_error(f"the last stage {specs[-1].name} has a threshold")

    def read_options(self, kind: type[M]) -> M:
        try:
            return kind.model_validate(self.manifest.options)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in ("options", *first["loc"]))
            raise ModelDirectoryError(
                f"{self.directory}/route.toml: {place}: {first['msg']}"
            ) from error

    def open(
        self, spec: StageSpec, inputs: Tensors | Tensor, beside: Tensors | None = None
    ) -> onnxruntime.InferenceSession:
        """Open a net that takes exactly these inputs and returns `logits` and `beside`.

        A single tensor as `inputs` may have any name. Raises ModelDirectoryError.
        """
        session: onnxruntime.InferenceSession = self.device.open(self.directory / spec.file)
        place = f"{self.directory / spec.file}: stage {spec.name}"
        found = read_inputs(session)
        taken = inputs if isinstance(inputs, Mapping) else {next(iter(found), "any"): inputs}
        if found != taken:
            raise ModelDirectoryError(
                f"{place}: inputs are {_format(found)}; the route sends {_format(taken)}"
            )
        found = read_outputs(session)
        wanted = {"logits": ("FP32", (-1, self.classes)), **(beside or {})}
        lacking = {name: wanted[name] for name in wanted if found.get(name) != wanted[name]}
        if lacking:
            raise ModelDirectoryError(
                f"{place}: outputs are {_format(found)}; missing are {_format(lacking)}"
            )
        if gives_probabilities(session, several=self.several):
            raise ModelDirectoryError(
                f"{place}: its output logits holds probabilities, so thresholds mean nothing; "
                f"remove its {'Sigmoid' if self.several else 'Softmax'}, or let sparing import do "
                "it"
            )
        return session

    def open_final(
        self, spec: StageSpec, score: Score, beside: Tensors | None = None
    ) -> FinalStage:
        """Open a stage that takes the route's inputs and ends every row."""
        session, head = self.open(spec, self.inputs, beside), self.make_head(spec, score)
        outputs = ("logits", *(beside or {}))
        return FinalStage(spec.name, session, tuple(self.inputs), outputs, head)

    def make_head(self, spec: StageSpec, score: Score) -> ClassifierHead:
        return ClassifierHead(spec.name, spec.macs, spec.temperature, score)

    def make_error(self, sentence: str) -> ModelDirectoryError:
        return ModelDirectoryError(f"{self.directory}: {sentence}")


def read_classifier(
    directory: Path, device: Device, further: Sequence[str] = (), *, several: bool = False
) -> ClassifierRoute:
    """Read and verify the manifest of a route whose outputs are `label` and `probabilities`, and
    `further` ones, which its pipeline verifies. With `several` labels at once, the outputs are
    `labels` BOOL [-1, labels] and `probabilities`.

    Raises ModelDirectoryError.
    """
    manifest = read_runnable(directory, device)
    classes = _count_classes(directory, manifest, further, several=several)
    route = ClassifierRoute(directory, manifest, classes, device, several)
    names = [spec.name for spec in manifest.stages]
    if len(set(names)) < len(names):
        raise route.make_error(f"stages: names {names} are not distinct")
    return route


def gives_probabilities(session: onnxruntime.InferenceSession, *, several: bool = False) -> bool:
    """Whether `logits` of trial rows are never negative and add up to 1, as a softmax gives; with
    `several` labels at once, whether all of many are from 0 to 1, as a sigmoid gives.
    """
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(TRIAL_ROWS):
        feed = {
            name: _make_trial_row(rng, *tensor) for name, tensor in read_inputs(session).items()
        }
        try:
            logits = session.run(["logits"], feed)[0]
        except Exception:  # the runtime's own; loading runs a row too, and names this fault
            return False
        seen += logits.size
        near = (logits >= 0).all() and (
            float(logits.max()) <= 1
            if several
            else abs(float(logits.sum()) - 1) <= PROBABILITY_TOLERANCE
        )
        if not near:  # NaN is not near either
            return False
    return not several or seen >= TRIAL_LABELS


def _make_trial_row(rng: np.random.Generator, datatype: str, shape: tuple[int, ...]) -> Array:
    sizes = [1, *(1 if size < 0 else size for size in shape[1:])]
    dtype = DATATYPES.get(datatype, np.dtype(np.float32))
    if datatype == "UINT8":
        return rng.integers(0, 256, sizes, dtype=np.uint8)
    if datatype.startswith("FP"):
        return rng.standard_normal(sizes).astype(dtype)
    return np.zeros(sizes, dtype)


def read_inputs(session: onnxruntime.InferenceSession) -> Tensors:
    return _read(session.get_inputs())


def read_outputs(session: onnxruntime.InferenceSession) -> Tensors:
    return _read(session.get_outputs())


def _count_classes(
    directory: Path, manifest: Manifest, further: Sequence[str], *, several: bool
) -> int:
    outputs = _declare(manifest.outputs)
    datatype, shape = outputs.get("probabilities", ("", (-1, -1)))
    names = ["probabilities", *further]
    answer: Tensors = {"labels": ("BOOL", shape)} if several else {"label": ("INT64", (-1,))}
    ((name, wanted),) = answer.items()
    if set(outputs) != {name, *names} or outputs[name] != wanted:
        raise ModelDirectoryError(
            f"{directory}: outputs: given {_format(outputs)}, "
            f"needed are {_format(answer)} and {', '.join(names)}"
        )
    fewest, noun = (1, "label") if several else (2, "classes")
    if datatype != "FP32" or len(shape) != 2 or shape[0] != -1 or shape[1] < fewest:
        raise ModelDirectoryError(
            f"{directory}: outputs: probabilities is {datatype} {list(shape)}, "
            f"allowed is FP32 [-1, classes] with at least {fewest} {noun}"
        )
    if manifest.labels and len(manifest.labels) != shape[1]:
        raise ModelDirectoryError(
            f"{directory}: labels: given {len(manifest.labels)}, declared are {shape[1]} classes"
        )
    return shape[1]


def _declare(specs: Iterable[TensorSpec]) -> Tensors:
    return {spec.name: (spec.datatype, spec.shape) for spec in specs}


def _read(nodes: Iterable[Any]) -> Tensors:  # onnxruntime's NodeArg is untyped
    """Read names, datatypes and shapes; free dimensions, which are names or None, become -1.

    A type that the protocol does not have keeps ONNX's name.
    """
    return {
        node.name: (
            OF_ONNX.get(node.type, node.type),
            tuple(size if isinstance(size, int) else -1 for size in node.shape),
        )
        for node in nodes
    }


def _format(tensors: Tensors) -> str:
    return ", ".join(
        f"{name} {datatype} {list(shape)}" for name, (datatype, shape) in tensors.items()
    )
