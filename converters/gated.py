"""A gated converter: convert only hard pictures, and accept a conversion only if a gate allows it.

A variant of CBNet (arXiv 2403.07036) with three stages. The light classifier answers the rows that
it is confident about. The others are converted and classified again. Such an answer is accepted
only if its confidence is high enough, its label is the light classifier's label too, and the
converted picture is near a target picture. All other rows continue to the full classifier.

A converter makes even a meaningless picture look easy, so an answer that the gate rejects is never
returned: the row's best answer so far stays the light classifier's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from pydantic import Field

from converters.cbnet import DISTANCE
from converters.drawing import choose_outputs, draw_conversion, make_notes, returns_converted
from core.classifiers.classifier import (
    Bools,
    ClassifierHead,
    FinalStage,
    StageScores,
    find_below_requested,
)
from core.classifiers.route import ClassifierRoute, Options, Tensors, read_classifier
from core.classifiers.scores import SCORES, Score
from core.columns import Onward, Steps
from core.devices.interface import Device
from core.explaining import RowPath
from core.manifest import StageSpec
from core.messages import Array, Batch, Next

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

    def send_on(self, rows: Batch, unsure: Bools, **carried: npt.NDArray[Any]) -> Sequence[Onward]:
        """Return the rows that continue, with their inputs and what they carry beside them.

        The inputs are copied, so that a waiting row does not keep the whole batch in memory.
        """
        going = np.flatnonzero(unsure)
        if not going.size:
            return ()
        inputs = {name: rows.inputs[name][going] for name in self.input_names}
        inputs.update({name: column[going] for name, column in carried.items()})
        return (Onward(self.following, going, inputs),)


@dataclass(frozen=True, slots=True)
class LightStage:
    """Answers the easy rows. `run` is re-entrant: it keeps no state."""

    name: str
    net: Net

    def run(self, rows: Batch) -> Steps:
        net, head = self.net, self.net.head
        found = head.score_rows(*net.run(rows, ("logits",)))
        unsure = (found.scores < net.threshold) | find_below_requested(rows, found.scores)
        onward = net.send_on(rows, unsure & found.finite, **{LIGHT_LABEL: found.labels})
        return head.go_on(found, found.finite, onward)


@dataclass(frozen=True, slots=True)
class ConvertStage:
    """Answers the rows whose conversion the gate accepts. `run` is re-entrant, without state."""

    name: str
    net: Net
    max_distance: float
    agree: bool
    draws: bool  # the net returns the converted picture

    def run(self, rows: Batch) -> Steps:
        net, head = self.net, self.net.head
        outputs = choose_outputs(rows, ("logits", *DISTANCE), draws=self.draws)
        (logits, distances), notes = make_notes(outputs, net.run(rows, outputs))
        found = head.score_rows(logits, distances)
        refused = self._find_rejected(rows, found, distances)
        goes_on = (refused | find_below_requested(rows, found.scores)) & found.finite
        steps = head.go_on(found, found.finite & ~refused, net.send_on(rows, goes_on))
        steps.notes = notes
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


@dataclass(frozen=True, slots=True)
class Gated:
    """The pipeline, which can draw what a hard picture was converted to."""

    digest: bytes
    first: str
    stages: Mapping[str, LightStage | ConvertStage | FinalStage]
    direct: Next | None
    draws: bool

    def explain_picture(self, inputs: Mapping[str, Array], path: RowPath) -> np.ndarray | None:
        return draw_conversion(inputs, path)


def build(directory: Path, device: Device) -> Gated:
    """Open the three nets. Raises ModelDirectoryError, which names the directory and the fault."""
    route = read_classifier(directory, device)
    route.check_stage_count(3, 3)
    options = route.read_options(GateOptions)
    score = SCORES[options.score]
    light, convert, full = route.manifest.stages
    light_net = _open_net(route, light, score, convert.name)
    convert_net = _open_net(route, convert, score, full.name, DISTANCE)
    draws = returns_converted(convert_net.session)
    stages: dict[str, LightStage | ConvertStage | FinalStage] = {
        light.name: LightStage(light.name, light_net),
        convert.name: ConvertStage(
            convert.name, convert_net, options.max_distance, options.agree, draws
        ),
        full.name: route.open_final(full, score),
    }
    return Gated(route.manifest.digest, light.name, stages, Next(full.name, {}), draws)


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
