"""CBNet as published: convert every picture to an easy one, then classify it.

After "CBNet: A Converting Autoencoder Toward Low-latency and Energy-efficient DNN Inference at the
Edge" (arXiv 2403.07036). One stage, whose net holds the autoencoder and the light classifier. It
returns `logits` [N, K] and `distance` [N]: the distance of the converted picture from the nearest
target picture. A distance that is not finite fails its row, also where the classifier hides the
fault, as max pooling does with NaN. A net that also returns `converted`, the converted picture in
[0, 1], can explain a row by a picture. `converters.gated` converts only hard pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.classifier import FinalStage
from core.classifier_route import Options, Tensors, read_classifier, read_outputs
from core.columns import Steps
from core.devices import Device
from core.explaining import EXPLAIN, RowPath
from core.messages import Array, Batch
from core.scores import SCORES

DISTANCE: Tensors = {"distance": ("FP32", (-1,))}
CONVERTED = "converted"
_DRAWN_PIXELS = 224  # of a drawn picture's height, at least


@dataclass(frozen=True, slots=True)
class ConvertedStage:
    """The only stage. `run` is re-entrant: it keeps no state."""

    name: str
    final: FinalStage
    draws: bool  # the net returns the converted picture

    def run(self, rows: Batch) -> Steps:
        final = self.final
        if not self.draws or EXPLAIN not in rows.controls:
            return final.run(rows)
        feed = {name: rows.inputs[name] for name in final.input_names}
        *scored, converted = final.session.run([*final.output_names, CONVERTED], feed)
        steps = final.head.end(final.head.score_rows(*scored))
        steps.notes = {CONVERTED: converted}
        return steps


@dataclass(frozen=True, slots=True)
class Cbnet:
    """The pipeline, which draws a picture beside what it was converted to."""

    digest: bytes
    first: str
    stages: Mapping[str, ConvertedStage]

    @property
    def draws(self) -> bool:
        return self.stages[self.first].draws

    def explain_picture(self, inputs: Mapping[str, Array], path: RowPath) -> np.ndarray | None:
        """Return the given picture and the converted one, side by side; grey, uint8 [H, 2 W]."""
        if not path.runs or CONVERTED not in path.runs[0].notes:
            return None
        (given,) = inputs.values()
        unit = np.asarray(path.runs[0].notes[CONVERTED]).reshape(given.shape)
        converted = np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8)
        scale = -(-_DRAWN_PIXELS // len(given))
        both = np.concatenate([np.asarray(given, np.uint8), converted], axis=1)
        return both.repeat(scale, axis=0).repeat(scale, axis=1)


def build(directory: Path, device: Device) -> Cbnet:
    """Open the net. Raises ModelDirectoryError, which names the directory and the fault."""
    route = read_classifier(directory)
    route.check_stage_count(1, 1)
    (spec,) = route.manifest.stages
    final = route.open_final(spec, SCORES[route.read_options(Options).score], DISTANCE)
    stage = ConvertedStage(spec.name, final, CONVERTED in read_outputs(final.session))
    return Cbnet(route.manifest.digest, spec.name, {spec.name: stage})
