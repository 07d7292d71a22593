"""Early exits: one trunk, cut into segments, with a small classifier after each.

After "BranchyNet: Fast Inference via Early Exiting from Deep Neural Networks" (ICPR 2016), with any
number of exits and calibrated scores. Each segment with its exit is a stage: a row carries its
features to the next one, and rows of different requests share batches again after every exit. A row
ends at the first exit whose score reaches that exit's threshold and the request's `min_confidence`,
with that exit's answer. The engine handles queues, batches and deadlines; `training` trains exits.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime

from core.classifiers.classifier import Classifier, ClassifierHead, FinalStage, find_below_requested
from core.classifiers.route import (
    ClassifierRoute,
    Options,
    Tensor,
    Tensors,
    read_classifier,
    read_inputs,
    read_outputs,
)
from core.classifiers.scores import SCORES
from core.columns import Onward, Steps
from core.devices.interface import Device
from core.messages import Batch

FEATURES = "features"


@dataclass(frozen=True, slots=True)
class ExitStage:
    """A segment of the trunk and its exit. `run` is re-entrant: it keeps no state."""

    name: str
    session: onnxruntime.InferenceSession
    input_names: tuple[str, ...]
    head: ClassifierHead
    threshold: float
    following: str
    takes: str  # the following segment's name for the features

    def run(self, rows: Batch) -> Steps:
        feed = {name: rows.inputs[name] for name in self.input_names}
        logits, features = self.session.run(["logits", FEATURES], feed)
        found = self.head.score_rows(logits)
        unsure = (found.scores < self.threshold) | find_below_requested(rows, found.scores)
        going = np.flatnonzero(unsure & found.finite)
        # Copied, so that a waiting row does not keep the whole batch's features in memory.
        onward = Onward(self.following, going, {self.takes: features[going]})
        return self.head.go_on(found, found.finite, (onward,) if going.size else ())


def build(directory: Path, device: Device) -> Classifier[ExitStage | FinalStage]:
    """Open the segments in the trunk's order. Raises ModelDirectoryError."""
    route = read_classifier(directory, device)
    route.check_stage_count(2)
    score = SCORES[route.read_options(Options).score]
    specs = route.manifest.stages
    sessions = _open_segments(route)
    names = [tuple(read_inputs(session)) for session in sessions]
    stages: dict[str, ExitStage | FinalStage] = {}
    for index, (spec, following) in enumerate(pairwise(specs)):
        assert spec.threshold is not None, "expect_stages saw to it"
        stages[spec.name] = ExitStage(
            name=spec.name,
            session=sessions[index],
            input_names=names[index],
            head=route.make_head(spec, score),
            threshold=spec.threshold,
            following=following.name,
            takes=names[index + 1][0],
        )
    head = route.make_head(specs[-1], score)
    stages[head.exit] = FinalStage(head.exit, sessions[-1], names[-1], ("logits",), head)
    return Classifier(route.manifest.digest, specs[0].name, stages)


def _open_segments(route: ClassifierRoute) -> list[onnxruntime.InferenceSession]:
    """Open all nets: the first takes the route's inputs, the others the features before them."""
    inputs: Tensors | Tensor = route.inputs
    sessions = []
    for spec in route.manifest.stages:
        session = route.open(spec, inputs)
        sessions.append(session)
        if spec.threshold is not None:
            inputs = read_outputs(session).get(FEATURES, ("", ()))
            if inputs[0] != "FP32" or inputs[1][:1] != (-1,):
                raise route.make_error(f"stage {spec.name} gives no {FEATURES} FP32 [-1, ...]")
    return sessions
