"""CBNet as published: convert every picture to an easy one, then classify it.

After "CBNet: A Converting Autoencoder Toward Low-latency and Energy-efficient DNN Inference at the
Edge" (arXiv 2403.07036). One stage, whose net holds the autoencoder and the light classifier. It
returns `logits` [N, K] and `distance` [N]: the distance of the converted picture from the nearest
target picture. A distance that is not finite fails its row, also where the classifier hides the
fault, as max pooling does with NaN. `converters.gated` converts only hard pictures.
"""

from pathlib import Path

from core.classifier import Classifier, FinalStage
from core.classifier_route import Options, Tensors, read_classifier
from core.devices.interface import Device
from core.scores import SCORES

DISTANCE: Tensors = {"distance": ("FP32", (-1,))}


def build(directory: Path, device: Device) -> Classifier[FinalStage]:
    """Open the net. Raises ModelDirectoryError, which names the directory and the fault."""
    route = read_classifier(directory, device)
    route.check_stage_count(1, 1)
    (spec,) = route.manifest.stages
    stage = route.open_final(spec, SCORES[route.read_options(Options).score], DISTANCE)
    return Classifier(route.manifest.digest, spec.name, {spec.name: stage})
