"""CBNet as published: convert every picture to an easy one, then classify it.

After "CBNet: A Converting Autoencoder Toward Low-latency and Energy-efficient DNN Inference at the
Edge" (arXiv 2403.07036). One stage, whose net holds the autoencoder and the light classifier. It
returns `logits` [N, K] and `distance` [N]: the distance of the converted picture from the nearest
target picture. A distance that is not finite fails its row, also where the classifier hides the
fault, as max pooling does with NaN. `converters.gated` converts only hard pictures,
`converters.drawing` draws a conversion.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.drawing import choose_outputs, draw_conversion, make_notes, returns_converted
from core.classifiers.classifier import FinalStage
from core.classifiers.route import Options, Tensors, read_classifier
from core.classifiers.scores import SCORES
from core.columns import Steps
from core.devices.interface import Device
from core.explaining import RowPath
from core.messages import Array, Batch

DISTANCE: Tensors = {"distance": ("FP32", (-1,))}


@dataclass(frozen=True, slots=True)
class ConvertedStage:
    """The only stage. `run` is re-entrant: it keeps no state."""

    name: str
    final: FinalStage
    draws: bool  # the net returns the converted picture

    def run(self, rows: Batch) -> Steps:
        final = self.final
        outputs = choose_outputs(rows, final.output_names, draws=self.draws)
        feed = {name: rows.inputs[name] for name in final.input_names}
        scored, notes = make_notes(outputs, final.session.run(outputs, feed))
        steps = final.head.end(final.head.score_rows(*scored))
        steps.notes = notes
        return steps


@dataclass(frozen=True, slots=True)
class Cbnet:
    """The pipeline, which can draw what a picture was converted to."""

    digest: bytes
    first: str
    stages: Mapping[str, ConvertedStage]

    @property
    def draws(self) -> bool:
        return self.stages[self.first].draws

    def explain_picture(self, inputs: Mapping[str, Array], path: RowPath) -> np.ndarray | None:
        return draw_conversion(inputs, path)


def build(directory: Path, device: Device) -> Cbnet:
    """Open the net. Raises ModelDirectoryError, which names the directory and the fault."""
    route = read_classifier(directory, device)
    route.check_stage_count(1, 1)
    (spec,) = route.manifest.stages
    final = route.open_final(spec, SCORES[route.read_options(Options).score], DISTANCE)
    stage = ConvertedStage(spec.name, final, returns_converted(final.session))
    return Cbnet(route.manifest.digest, spec.name, {spec.name: stage})
