"""The converting autoencoder as published: convert every picture to an easy one, then classify it.

After "CBNet: A Converting Autoencoder Toward Low-latency and Energy-efficient DNN Inference at the
Edge" (arXiv 2403.07036). One stage, whose net holds autoencoder and light classifier and gives
`logits` and `distance`: how far the converted picture is from the nearest picture that conversion
aims at. A distance that is not finite fails its row even where the classifier swallows the fault,
as max pooling does with NaN. Converting only where it is needed is `converters.gated`'s.
"""

from pathlib import Path

from core.classifier import Classifier, FinalStage
from core.classifier_route import Options, Tensors, read_classifier
from core.devices import Device
from core.scores import SCORES

DISTANCE: Tensors = {"distance": ("FP32", (-1,))}


def build(directory: Path, device: Device) -> Classifier[FinalStage]:
    """Open the net. Raises ModelDirectoryError naming the directory and the fault."""
    route = read_classifier(directory)
    route.check_stage_count(1, 1)
    (spec,) = route.manifest.stages
    stage = route.open_final(spec, SCORES[route.read_options(Options).score], DISTANCE)
    return Classifier(route.manifest.digest, spec.name, {spec.name: stage})
