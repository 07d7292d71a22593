"""A gated converter: convert only hard pictures, and accept a conversion only if a gate allows it.

A variant of CBNet (arXiv 2403.07036) with three stages. The light classifier answers the rows that
it is confident about. The others are converted and classified again. Such an answer is accepted
only if its confidence is high enough, its label is the light classifier's label too, and the
converted picture is near a target picture. All other rows continue to the full classifier.

A converter makes even a meaningless picture look easy, so an answer that the gate rejects is never
returned: the row's best answer so far stays the light classifier's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from pydantic import Field

from converters.cbnet import DISTANCE
from core.classifier import (
    Bools,
    Classifier,
    ClassifierHead,
    FinalStage,
    StageScores,
    find_below_requested,
)
from core.classifier_route import ClassifierRoute, Options, Tensors, read_classifier
from core.devices import Device
from core.manifest import StageSpec
from core.messages import Batch, Next, Step
from core.scores import SCORES, Score

LIGHT_LABEL = "light_label"  # the light classifier's label, for the gate


class GateOptions(Options):
    """`[options]` of the route."""

    max_distance: float = Field(ge=0)  # inf: no limit
    agree: bool = True  # the converted picture's label must be the light classifier's


@dataclass(frozen=True, slots=True)
class Net:
    """A stage's net, its head, and where rows continue that do not end here."""

    session: onnxruntime.InferenceSession
    input_names: tuple[str, ...]
    head: ClassifierHead
    threshold: float
    following: str

    def run(self, rows: Batch, outputs: Sequence[str]) -> Sequence[np.ndarray]:
        feed = {name: rows.inputs[name] for name in self.input_names}
        given: Sequence[np.ndarray] = self.session.run(outputs, feed)
        return given

    def forward_rows(
        self, rows: Batch, unsure: Bools
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yield each row that continues, and its inputs.

        The inputs are copied, so that a waiting row does not keep the whole batch in memory.
        """
        going = np.flatnonzero(unsure)
        inputs = {name: rows.inputs[name][going] for name in self.input_names}
        for place, row in enumerate(going.tolist()):
            yield row, {name: array[place] for name, array in inputs.items()}


@dataclass(frozen=True, slots=True)
class LightStage:
    """Answers the easy rows. `run` is re-entrant: it keeps no state."""

    name: str
    net: Net

    def run(self, rows: Batch) -> Sequence[Step]:
        net, head = self.net, self.net.head
        stage_scores = head.score_rows(*net.run(rows, ("logits",)))
        steps, labels = head.end(stage_scores), stage_scores.labels
        unsure = (stage_scores.scores < net.threshold) | find_below_requested(
            rows, stage_scores.scores
        )
        for row, carried in net.forward_rows(rows, unsure & stage_scores.finite):
            carried[LIGHT_LABEL] = head.labels[labels[row]]
            steps[row] = Step(head.macs, steps[row].answer, Next(net.following, carried))
        return steps


@dataclass(frozen=True, slots=True)
class ConvertStage:
    """Answers the rows whose conversion the gate accepts. `run` is re-entrant, without state."""

    name: str
    net: Net
    max_distance: float
    agree: bool

    def run(self, rows: Batch) -> Sequence[Step]:
        net, head = self.net, self.net.head
        logits, distances = net.run(rows, ("logits", *DISTANCE))
        stage_scores = head.score_rows(logits, distances)
        steps = head.end(stage_scores)
        refused = self._find_rejected(rows, stage_scores, distances)
        goes_on = (refused | find_below_requested(rows, stage_scores.scores)) & stage_scores.finite
        for row, carried in net.forward_rows(rows, goes_on):
            answer = None if refused[row] else steps[row].answer
            steps[row] = Step(head.macs, answer, Next(net.following, carried))
        return steps

    def _find_rejected(
        self, rows: Batch, stage_scores: StageScores, distances: np.ndarray
    ) -> Bools:
        refused: Bools = (stage_scores.scores < self.net.threshold) | (
            distances > self.max_distance
        )
        if self.agree:
            refused |= stage_scores.labels != rows.inputs[LIGHT_LABEL]
        return refused


def build(directory: Path, device: Device) -> Classifier[LightStage | ConvertStage | FinalStage]:
    """Open the three nets. Raises ModelDirectoryError, which names the directory and the fault."""
    route = read_classifier(directory)
    route.check_stage_count(3, 3)
    options = route.read_options(GateOptions)
    score = SCORES[options.score]
    light, convert, full = route.manifest.stages
    light_net = _open_net(route, light, score, convert.name)
    convert_net = _open_net(route, convert, score, full.name, DISTANCE)
    stages: dict[str, LightStage | ConvertStage | FinalStage] = {
        light.name: LightStage(light.name, light_net),
        convert.name: ConvertStage(convert.name, convert_net, options.max_distance, options.agree),
        full.name: route.open_final(full, score),
    }
    return Classifier(route.manifest.digest, light.name, stages, Next(full.name, {}))


def _open_net(
    route: ClassifierRoute,
    spec: StageSpec,
    score: Score,
    following: str,
    beside: Tensors | None = None,
) -> Net:
    assert spec.threshold is not None, "expect_stages saw to it"
    session = route.open(spec, route.inputs, beside)
    head = route.make_head(spec, score)
    return Net(session, tuple(route.inputs), head, spec.threshold, following)
