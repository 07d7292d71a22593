"""Dual complementary CNNs: run a small net, and a further one only where the first is unsure.

After "Reducing Inference Energy Consumption Using Dual Complementary CNNs" (arXiv 2412.01039), with
any number of stages, calibrated scores and three rules for combining answers. A row stops where its
stage's own score reaches the stage's threshold and the combined answer's confidence reaches the
request's `min_confidence`. What earlier stages said travels with the row, in `so_far`. Queues,
batches and deadlines are the engine's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime
from pydantic import BaseModel, ConfigDict, ValidationError

from cascades.combining import RULES, Rule, Verdict, first_verdict
from core.devices import Device, open_onnx
from core.errors import ModelDirectoryError
from core.manifest import Manifest, StageSpec, TensorSpec, read_manifest
from core.messages import Batch, Next, Outcome, Step
from core.scores import SCORES, Floats, Score, log_softmax

SO_FAR = (
    "so_far"  # [K + 2]: the earlier stages' evidence, their answer's score and its stage's index
)
ONNX_TYPES = {
    "BOOL": "bool", "UINT8": "uint8", "INT8": "int8", "UINT16": "uint16", "INT16": "int16",
    "UINT32": "uint32", "INT32": "int32", "UINT64": "uint64", "INT64": "int64",
    "FP16": "float16", "FP32": "float", "FP64": "double", "BYTES": "string",
}  # fmt: skip


class Options(BaseModel):
    """`[options]` of the route."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: Literal["difference", "max_probability", "entropy"] = "difference"
    combine: Literal["post_check", "last", "average"] = "post_check"


@dataclass(frozen=True, slots=True)
class CascadeStage:
    """One net and its decision. `run` is re-entrant: it keeps nothing."""

    name: str
    index: int
    session: onnxruntime.InferenceSession
    input_names: tuple[str, ...]
    macs: int
    temperature: float
    threshold: float | None
    score: Score
    rule: Rule
    names: tuple[str, ...]  # of all stages
    labels: tuple[npt.NDArray[np.int64], ...]  # one read-only scalar array a class

    def run(self, rows: Batch) -> Sequence[Step]:
        feed = {name: rows.inputs[name] for name in self.input_names}
        logits: npt.NDArray[np.float32] = self.session.run(["logits"], feed)[0]
        sound = np.asarray(np.isfinite(logits).all(axis=1))
        if not sound.all():
            logits = np.where(sound[:, None], logits, np.float32(0))
        own = first_verdict(log_softmax(logits, self.temperature), self.score, self.index)
        verdict = own
        if self.index:
            so_far = _unpack(np.asarray(rows.inputs[SO_FAR]))
            verdict = self.rule(so_far, own, self.index, self.score)
        steps = self._make_steps(rows, verdict, self._find_survivors(rows, own, verdict))
        for row in np.flatnonzero(~sound).tolist():
            steps[row] = Step(self.macs, None, None)
        return steps

    def _find_survivors(self, rows: Batch, own: Verdict, verdict: Verdict) -> list[int]:
        """The rows that go on to the next stage, in order."""
        if self.threshold is None:
            return []
        wanted = rows.controls.get("threshold")
        if wanted is None:
            unsure = own.scores < self.threshold
        else:
            unsure = own.scores < np.where(np.isnan(wanted), self.threshold, wanted)
        least = rows.controls.get("min_confidence")
        if least is not None:
            unsure |= verdict.scores < least  # False where NaN: the row does not set it
        survivors: list[int] = np.flatnonzero(unsure).tolist()
        return survivors

    def _make_steps(self, rows: Batch, verdict: Verdict, survivors: list[int]) -> list[Step]:
        probabilities = verdict.probabilities.astype(np.float32)
        labels, names, macs = self.labels, self.names, self.macs
        answers = [
            Outcome({"label": labels[label], "probabilities": row}, confidence, names[exit_index])
            for label, row, confidence, exit_index in zip(
                probabilities.argmax(axis=1).tolist(),
                probabilities,
                verdict.scores.tolist(),
                verdict.exits.tolist(),
                strict=True,
            )
        ]
        steps = [Step(macs, answer, None) for answer in answers]
        if survivors:
            following, inputs, input_names = names[self.index + 1], rows.inputs, self.input_names
            packed = _pack(verdict)
            for row in survivors:
                carried = {name: inputs[name][row] for name in input_names}
                carried[SO_FAR] = packed[row]
                steps[row] = Step(macs, answers[row], Next(following, carried))
        return steps


@dataclass(frozen=True, slots=True)
class Cascade:
    """The built pipeline."""

    digest: bytes
    first: str
    stages: Mapping[str, CascadeStage]


def build(directory: Path, device: Device) -> Cascade:
    """Open every stage's net. Raises ModelDirectoryError naming the directory and the fault."""
    manifest = read_manifest(directory)
    try:
        options = Options.model_validate(manifest.options)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in ("options", *first["loc"]))
        raise ModelDirectoryError(f"{directory}/route.toml: {place}: {first['msg']}") from error
    classes = _count_classes(directory, manifest)
    _check_stages(directory, manifest)
    labels = tuple(_make_label(label) for label in range(classes))
    names = tuple(spec.name for spec in manifest.stages)
    stages = {
        spec.name: CascadeStage(
            name=spec.name,
            index=index,
            session=_open_stage(directory, spec, manifest.inputs, classes),
            input_names=tuple(tensor.name for tensor in manifest.inputs),
            macs=spec.macs,
            temperature=spec.temperature,
            threshold=spec.threshold,
            score=SCORES[options.score],
            rule=RULES[options.combine],
            names=names,
            labels=labels,
        )
        for index, spec in enumerate(manifest.stages)
    }
    return Cascade(manifest.digest, names[0], stages)


def _pack(verdict: Verdict) -> Floats:
    return np.concatenate(
        [verdict.evidence, verdict.scores[:, None], verdict.exits[:, None]], axis=1
    )


def _unpack(so_far: Floats) -> Verdict:
    evidence = np.ascontiguousarray(so_far[:, :-2])
    return Verdict(np.exp(evidence), so_far[:, -2], so_far[:, -1].astype(np.int64), evidence)


def _make_label(label: int) -> npt.NDArray[np.int64]:
    array = np.array(label, dtype=np.int64)
    array.setflags(write=False)
    return array


def _count_classes(directory: Path, manifest: Manifest) -> int:
    outputs = {tensor.name: (tensor.datatype, tensor.shape) for tensor in manifest.outputs}
    datatype, shape = outputs.get("probabilities", ("", ()))
    if set(outputs) != {"label", "probabilities"} or outputs["label"] != ("INT64", (-1,)):
        raise ModelDirectoryError(
            f"{directory}: outputs: {sorted(outputs)} given, "
            "label INT64 [-1] and probabilities are needed"
        )
    if datatype != "FP32" or len(shape) != 2 or shape[0] != -1 or shape[1] < 2:
        raise ModelDirectoryError(
            f"{directory}: outputs: probabilities is {datatype} {list(shape)}, "
            "FP32 [-1, classes] with at least 2 classes is allowed"
        )
    if manifest.labels and len(manifest.labels) != shape[1]:
        raise ModelDirectoryError(
            f"{directory}: labels: {len(manifest.labels)} given, {shape[1]} classes declared"
        )
    return shape[1]


def _check_stages(directory: Path, manifest: Manifest) -> None:
    names = [spec.name for spec in manifest.stages]
    if len(set(names)) < len(names):
        raise ModelDirectoryError(f"{directory}: stages: names {names} are not distinct")
    for spec in manifest.stages[:-1]:
        if spec.threshold is None:
            raise ModelDirectoryError(f"{directory}: stage {spec.name} has no threshold")
    if manifest.stages[-1].threshold is not None:
        raise ModelDirectoryError(f"{directory}: the last stage {names[-1]} has a threshold")
    if manifest.pipeline == "single" and len(names) > 1:
        raise ModelDirectoryError(
            f"{directory}: pipeline single has {len(names)} stages, 1 is allowed"
        )


def _open_stage(
    directory: Path, spec: StageSpec, inputs: Sequence[TensorSpec], classes: int
) -> onnxruntime.InferenceSession:
    """A session whose inputs are the route's and whose `logits` are FP32 [N, classes]."""
    session = open_onnx(directory / spec.file)
    place = f"{directory / spec.file}: stage {spec.name}"
    wanted = {
        tensor.name: (f"tensor({ONNX_TYPES[tensor.datatype]})", list(tensor.shape))
        for tensor in inputs
    }
    found = {node.name: (node.type, _read_shape(node)) for node in session.get_inputs()}
    if found != wanted:
        raise ModelDirectoryError(f"{place}: inputs are {found}, the route declares {wanted}")
    logits = {node.name: (node.type, _read_shape(node)) for node in session.get_outputs()}
    if logits.get("logits") != ("tensor(float)", [-1, classes]):
        raise ModelDirectoryError(
            f"{place}: outputs are {logits}, logits tensor(float) [-1, {classes}] is needed"
        )
    return session


def _read_shape(node: Any) -> list[int]:  # onnxruntime's NodeArg is untyped
    """Free dimensions, which have a name or None, as -1."""
    return [size if isinstance(size, int) else -1 for size in node.shape]
