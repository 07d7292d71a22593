"""Describes routes and answers in JSON, apart from tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.manifest import Manifest, TensorSpec
from core.messages import Answer, Reply
from routes.table import count_full_macs
from serving.oip.label_lists import DEFAULT_VIEW, LabelView, describe_labels
from serving.oip.outputs import EXPLANATIONS, response_parameters
from serving.oip.statistics import BatchStatistics, Duration, InferStatistics, ModelStatistics
from serving.oip.tensors import as_bytes

EXTENSIONS = ("binary_tensor_data", "statistics", "model_repository")
_OF_STAGES = {"name", "file", "macs", "max_batch", "temperature", "threshold"}
JsonObject = dict[str, Any]  # a JSON object for orjson; numpy arrays are allowed


def describe_model(name: str, manifest: Manifest, versions: Sequence[str]) -> JsonObject:
    """Return the protocol's model metadata, with the precision of stages that have two files."""
    precisions = {
        f"precision.{stage.name}": stage.precision for stage in manifest.stages if stage.precision
    }
    return {
        "name": name,
        "versions": versions,
        "platform": manifest.pipeline,
        "inputs": [describe_tensor(spec) for spec in manifest.inputs],
        "outputs": [describe_tensor(spec) for spec in manifest.outputs],
        **({"parameters": precisions} if precisions else {}),
    }


def describe_route(
    manifest: Manifest,
    digest: str,
    profile: Mapping[str, object],
    similar: Mapping[str, object] | None = None,
    rollout: Mapping[str, object] | None = None,
) -> JsonObject:
    """Return a version's kind, stages, thresholds, certificate and live profile."""
    return {
        "route": manifest.route,
        "version": manifest.version,
        "task": manifest.task,
        "pipeline": manifest.pipeline,
        "description": manifest.description,
        "digest": digest,
        "certificate": manifest.certificate,
        "expected_macs": manifest.expected_macs,
        "full_macs": count_full_macs(manifest),
        "stages": [
            {**stage.model_dump(include=_OF_STAGES), "precision": stage.precision}
            for stage in manifest.stages
        ],
        "inputs": [describe_tensor(spec) for spec in manifest.inputs],
        "outputs": [describe_tensor(spec) for spec in manifest.outputs],
        "explanations": [
            {"name": name, "datatype": fact.datatype, "shape": [-1]}
            for name, fact in EXPLANATIONS.items()
        ],
        "parameters": {name: spec.schema_of() for name, spec in manifest.parameters.items()},
        "labels": manifest.labels,
        "picture": None if manifest.picture is None else manifest.picture.model_dump(),
        "cache": {**manifest.cache.model_dump(), "perceptual": similar},
        "rollout": rollout,
        "profile": profile,
    }


def describe_reply(reply: Reply, manifest: Manifest, view: LabelView = DEFAULT_VIEW) -> JsonObject:
    """Return the reply of the picture endpoint: the facts of the tensors, one object for each
    picture.
    """
    answers = [describe_answer(answer, manifest.labels, view) for answer in reply.answers]
    return {**response_parameters(reply), "answers": answers}


def describe_statistics(found: ModelStatistics) -> JsonObject:
    """Return the counts of one version of a model in the form of Triton's statistics extension."""
    return {
        **found._asdict(),
        "inference_stats": _describe_durations(found.inference_stats),
        "batch_stats": [
            {"batch_size": one.batch_size, **_describe_durations(one)} for one in found.batch_stats
        ],
    }


def _describe_durations(found: InferStatistics | BatchStatistics) -> JsonObject:
    return {
        name: {"count": value.count, "ns": value.ns}
        for name, value in found._asdict().items()
        if isinstance(value, Duration)
    }


def describe_answer(answer: Answer, labels: Sequence[str], view: LabelView) -> JsonObject:
    """Return one answer with its facts and its outputs; of labels, what `view` shows."""
    facts: JsonObject = {
        "confidence": answer.outcome.confidence,
        "exit": answer.outcome.exit,
        "stopped_by": answer.stopped_by,
        "cached": answer.cached,
        "macs": answer.macs,
        "energy_mj": answer.energy_mj,
        "latency_ms": round(answer.latency_s * 1e3, 3),
    }
    if answer.similar:
        facts["similar"] = True
    given = answer.outcome.outputs
    shown = describe_labels(given, labels, view)
    replaced = ("labels", "probabilities") if shown else ()
    outputs = {name: make_plain(array) for name, array in given.items() if name not in replaced}
    label = outputs.get("label")
    if isinstance(label, int) and 0 <= label < len(labels):
        outputs = {"label_name": labels[label], **outputs}
    return {**facts, **outputs, **shown}


def make_plain(array: Any) -> object:  # an array or a numpy scalar
    """Return an output in a form that orjson writes."""
    whole = np.asarray(array)
    if whole.dtype == np.object_:
        return [as_bytes(item).decode(errors="replace") for item in whole.flat]
    return whole.item() if whole.ndim == 0 else np.ascontiguousarray(whole)


def describe_tensor(spec: TensorSpec) -> JsonObject:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
