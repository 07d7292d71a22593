"""Converting only the hard pictures, and believing the converter only where it can be checked.

Our form of CBNet (arXiv 2403.07036). Three stages, in the route's order. A light classifier ends
what it is sure of. The rest is converted and classified again, and ends there only if the
converted picture's answer is sure, is the light classifier's label too, and if what was made lies
near a picture that conversion aims at. All others go on to a full classifier. A converter turns
nonsense into something that looks easy, so an answer that this gate refuses is given to nobody:
while such a row goes on, its answer so far remains the light classifier's.
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

LIGHT_LABEL = "light_label"  # what the light classifier said, for the gate


class GateOptions(Options):
    """`[options]` of the route."""

    max_distance: float = Field(ge=0)  # inf: any
    agree: bool = True  # the converted picture's label must be the light classifier's


@dataclass(frozen=True, slots=True)
class Net:
    """A stage's file, what ends its rows and where the others go."""

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
        """Each row that goes on and its inputs, copied out together: a waiting row must not keep
        the whole batch alive.
        """
        going = np.flatnonzero(unsure)
        inputs = {name: rows.inputs[name][going] for name in self.input_names}
        for place, row in enumerate(going.tolist()):
            yield row, {name: array[place] for name, array in inputs.items()}


@dataclass(frozen=True, slots=True)
class LightStage:
    """Ends the easy rows. `run` is re-entrant: it keeps nothing."""

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
    """Ends the rows whose conversion the gate believes. `run` is re-entrant: it keeps nothing."""

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
    """Open the three nets. Raises ModelDirectoryError naming the directory and the fault."""
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
