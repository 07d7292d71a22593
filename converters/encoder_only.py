"""Classifying from an autoencoder's code: the encoder of a converter, without its decoder.

After "EncodeNet" (arXiv 2404.13770), in which CBNet's authors drop the decoder. One stage, whose
net holds encoder and classifier. `training` trains them.
"""

from pathlib import Path

from core.classifiers.classifier import Classifier, FinalStage
from core.classifiers.route import Options, read_classifier
from core.classifiers.scores import SCORES
from core.devices.interface import Device


def build(directory: Path, device: Device) -> Classifier[FinalStage]:
    """Open the net. Raises ModelDirectoryError, which names the directory and the fault."""
    route = read_classifier(directory, device)
    route.check_stage_count(1, 1)
    (spec,) = route.manifest.stages
    stage = route.open_final(spec, SCORES[route.read_options(Options).score])
    return Classifier(route.manifest.digest, spec.name, {spec.name: stage})
