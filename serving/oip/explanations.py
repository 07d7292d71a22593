"""Describes the path of one row in JSON: each stage's answer and cost, and why the row stopped."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from core.explaining import RowPath, StageRun
from core.manifest import Manifest, StageSpec
from core.messages import Answer, Reply, Request
from serving.oip.descriptions import JsonObject, describe_answer, make_plain
from serving.oip.label_lists import WHOLE_VIEW

MAX_VALUES = 1024  # of one output of a stage; a larger one is summed up


class Explained(NamedTuple):
    """A request of one row, and what is known of its path."""

    request: Request
    manifest: Manifest
    digest: str
    is_cached: bool  # whether the cache was asked: not for a row that costs less than that
    is_stored: bool  # whether the local cache holds the row's answer now
    path: RowPath
    cache_tier: int | None  # which cache held the answer: 1 in the process, 2 the remote one


def describe_explanation(explained: Explained, reply: Reply | None) -> JsonObject:
    """Return the whole path; `reply` is None if the request failed."""
    manifest, path = explained.manifest, explained.path
    facts: JsonObject = {
        "route": manifest.route,
        "version": manifest.version,
        "digest": explained.digest,
        "pipeline": manifest.pipeline,
        "certificate": manifest.certificate,
    }
    answer = None
    if reply is not None:
        (answer,) = reply.answers
        facts["energy_source"] = reply.energy_source
        facts["answer"] = describe_answer(answer, manifest.labels, WHOLE_VIEW)
        facts["why"] = reply.errors.get(0) or _describe_end(answer, explained)
    specs = {stage.name: stage for stage in manifest.stages}
    ran = {run.stage for run in path.runs}
    return {
        **facts,
        "parameters": _describe_parameters(explained),
        "cache": _describe_cache(answer, explained),
        "stages": [_describe_run(run, specs.get(run.stage), manifest.labels) for run in path.runs],
        "not_run": [stage.name for stage in manifest.stages if stage.name not in ran],
        "runs_dropped": path.dropped,
    }


def _describe_run(run: StageRun, spec: StageSpec | None, labels: Sequence[str]) -> JsonObject:
    answer = run.answer
    facts: JsonObject = {
        "stage": run.stage,
        "precision": None if spec is None else spec.precision,
        "result": "failed" if run.failed else "continued" if run.next_stage else "answered",
        "passed": answer is not None and run.next_stage is None,
        "next": run.next_stage,
        "threshold": None if spec is None else spec.threshold,
        "confidence": None if answer is None else answer.confidence,
        "outputs": {} if answer is None else _summarise_outputs(answer.outputs, labels),
        "queue_ms": _as_ms(run.queue_s),
        "device_ms": _as_ms(run.device_s),
        "cpu_ms": _as_ms(run.cpu_s),
        "batch_rows": run.batch_rows,
        "macs": run.macs,
        "energy_mj": run.energy_mj,
    }
    return facts


def _describe_end(answer: Answer, explained: Explained) -> str:
    """Return one sentence that says why the row stopped."""
    runs = explained.path.runs
    exit, confidence = answer.outcome.exit, answer.outcome.confidence
    following = runs[-1].next_stage if runs else None
    thresholds = {stage.name: stage.threshold for stage in explained.manifest.stages}
    match answer.stopped_by:
        case "cache" if answer.similar:
            return "the perceptual cache held the answer of a similar picture"
        case "cache":
            where = "remote" if explained.cache_tier == 2 else "local"
            return f"the {where} cache held the answer"
        case "confidence":
            return (
                f"stage {exit} ended the row with confidence {confidence:.4g}, its threshold is"
                f" {thresholds.get(exit)}"
            )
        case "last_stage":
            return f"stage {runs[-1].stage if runs else exit} is the last stage"
        case "deadline":
            return f"the deadline came before stage {following or 'the next one'} could answer"
        case "energy":
            return f"stage {following or 'the next one'} would have exceeded the energy budget"
        case _:
            return "the row failed"


def _describe_cache(answer: Answer | None, explained: Explained) -> JsonObject:
    """Return where the answer came from, and whether the local cache holds it now."""
    if answer is not None and answer.cached:
        state = "similar" if answer.similar else "hit"
    elif not explained.is_cached or explained.request.no_cache:
        state = "not used"
    elif any(run.joined for run in explained.path.runs):
        state = "joined"
    else:
        state = "miss"
    tier = explained.cache_tier if state == "hit" else None
    return {"state": state, "tier": tier, "stored": explained.is_stored}


def _describe_parameters(explained: Explained) -> JsonObject:
    """Return the parameters that decided the path, with the route's defaults."""
    request, declared = explained.request, explained.manifest.parameters
    given: JsonObject = {name: spec.default for name, spec in declared.items()}
    given |= request.controls
    if request.energy_mj is not None:
        given["energy_mj"] = request.energy_mj
    return {**given, "no_cache": request.no_cache}


def _summarise_outputs(outputs: Mapping[str, Any], labels: Sequence[str]) -> JsonObject:
    summaries: JsonObject = {name: _summarise(value) for name, value in outputs.items()}
    label = summaries.get("label")
    if isinstance(label, int) and 0 <= label < len(labels):
        summaries["label_name"] = labels[label]
    return summaries


def _summarise(value: Any) -> object:  # an array or a numpy scalar
    array = np.asarray(value)
    if array.size <= MAX_VALUES:
        return make_plain(array)
    facts: JsonObject = {"shape": array.shape, "datatype": str(array.dtype)}
    if array.dtype.kind in "iuf":
        facts |= {"min": array.min(), "max": array.max(), "mean": array.mean(dtype=np.float64)}
    return facts


def _as_ms(seconds: float) -> float:
    return round(seconds * 1e3, 4)
