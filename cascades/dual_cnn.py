"""Dual complementary CNNs: run a small net, and a larger one only if the first is not confident.

After "Reducing Inference Energy Consumption Using Dual Complementary CNNs" (arXiv 2412.01039), with
any number of stages, calibrated scores and three rules for combining answers. A row stops if the
stage's own score reaches the stage's threshold and the combined answer's confidence reaches the
request's `min_confidence`. With `min_confidence = 1` only the last stage runs and answers. A row
carries the answers of earlier stages in `so_far`. The engine handles queues, batches and deadlines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from pydantic import BaseModel, ConfigDict

from cascades.answer_kinds import ONE_LABEL, AnswerKind
from cascades.combining import CombinedAnswer, Rule
from core.classifiers.classifier import (
    Bools,
    Classifier,
    Logits,
    find_below_requested,
    zero_nonfinite,
)
from core.classifiers.last_stage_entry import LAST_STAGE_ONLY
from core.classifiers.route import ClassifierRoute, read_classifier
from core.classifiers.scores import Floats, Score
from core.columns import Onward, Steps
from core.devices.interface import Device
from core.messages import Batch, Next
from core.ragged import run_session, take_rows

SO_FAR = (
    "so_far"  # [K + 2]: the earlier stages' evidence, their answer's score and its stage's index
)


class Options(BaseModel):
    """`[options]` of the route."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: Literal["difference", "max_probability", "entropy"] = "difference"
    combine: Literal["post_check", "last", "average"] = "post_check"


@dataclass(frozen=True, slots=True)
class CascadeStage:
    """One net and its decision. `run` is re-entrant: it keeps no state."""

    name: str
    index: int
    session: onnxruntime.InferenceSession
    input_names: tuple[str, ...]
    macs: int
    temperature: float
    threshold: float | None
    kind: AnswerKind
    score: Score
    rule: Rule
    names: tuple[str, ...]  # of all stages

    def run(self, rows: Batch) -> Steps:
        feed = {name: rows.inputs[name] for name in self.input_names}
        given: Logits = run_session(self.session, ["logits"], feed)[0]
        logits, sound = zero_nonfinite(given)
        own = self.kind.answer(logits, self.temperature, self.score, self.index)
        verdict = own
        if self.index:
            so_far = _unpack(np.asarray(rows.inputs[SO_FAR]), self.kind)
            verdict = self.rule(so_far, own, self.index, self.score)
            if self.threshold is None:
                verdict = _answer_alone(rows, own, verdict)
        answers = self.kind.make_outcomes(
            verdict.probabilities, verdict.scores, verdict.exits, self.names
        )
        answered = None if sound.all() else sound
        onward = self._send_on(rows, own, verdict, sound)
        return Steps(len(sound), self.macs, answers, answered, onward)

    def _send_on(
        self, rows: Batch, own: CombinedAnswer, verdict: CombinedAnswer, sound: Bools
    ) -> Sequence[Onward]:
        """Return the rows that continue to the next stage, with what they carry."""
        if self.threshold is None:
            return ()
        unsure = (own.scores < self.threshold) | find_below_requested(rows, verdict.scores)
        going = np.flatnonzero(unsure & sound)
        if not going.size:
            return ()
        # Copied, so that a waiting row does not keep the whole batch in memory.
        inputs = {name: take_rows(rows.inputs[name], going) for name in self.input_names}
        inputs[SO_FAR] = _pack(verdict)[going]
        return (Onward(self.names[self.index + 1], going, inputs),)


def build(directory: Path, device: Device) -> Classifier[CascadeStage]:
    """Open every stage's net. Raises ModelDirectoryError, which names the directory and fault."""
    route = read_classifier(directory, device)
    route.check_stage_count(1, 1 if route.manifest.pipeline == "single" else None)
    options = route.read_options(Options)
    return open_stages(route, ONE_LABEL, options.score, options.combine)


def open_stages(
    route: ClassifierRoute, kind: AnswerKind, score: str, combine: str
) -> Classifier[CascadeStage]:
    """Open every stage's net as a cascade whose logits are of this kind, with a score and a rule of
    it. Raises ModelDirectoryError.
    """
    specs = route.manifest.stages
    names = tuple(spec.name for spec in specs)
    stages = {
        spec.name: CascadeStage(
            name=spec.name,
            index=index,
            session=route.open(spec, route.inputs),
            input_names=tuple(route.inputs),
            macs=spec.macs,
            temperature=spec.temperature,
            threshold=spec.threshold,
            kind=kind,
            score=kind.scores[score],
            rule=kind.rules[combine],
            names=names,
        )
        for index, spec in enumerate(specs)
    }
    direct = None
    if len(names) > 1:
        direct = Next(names[-1], {SO_FAR: np.zeros(route.classes + 2)})
    return Classifier(route.manifest.digest, names[0], stages, direct)


def _answer_alone(rows: Batch, own: CombinedAnswer, verdict: CombinedAnswer) -> CombinedAnswer:
    """Use the last stage's own answer for rows that request it and may have skipped the others."""
    least = rows.controls.get("min_confidence")
    if least is None or not (alone := least == LAST_STAGE_ONLY).any():
        return verdict
    column = alone[:, None]
    return CombinedAnswer(
        np.where(column, own.probabilities, verdict.probabilities),
        np.where(alone, own.scores, verdict.scores),
        np.where(alone, own.exits, verdict.exits),
        verdict.evidence,
    )


def _pack(verdict: CombinedAnswer) -> Floats:
    return np.concatenate(
        [verdict.evidence, verdict.scores[:, None], verdict.exits[:, None]], axis=1
    )


def _unpack(so_far: Floats, kind: AnswerKind) -> CombinedAnswer:
    evidence = np.ascontiguousarray(so_far[:, :-2])
    probabilities = kind.find_probabilities(evidence)
    exits = so_far[:, -1].astype(np.int64)
    return CombinedAnswer(probabilities, so_far[:, -2], exits, evidence)
