"""A converter with options of the user's, in the place of the recipe's own.

Its autoencoder, targets and loss are free, and the light classifier behind it may be tuned on its
conversions, as CBNet (arXiv 2403.07036) allows. The experiment's own nets stay as they are.
"""

import hashlib
import math
from dataclasses import dataclass

import torch
from rich.console import Console

from training.fitting import budget, converting
from training.fitting.converting import ConversionLoss, Error
from training.fitting.in_process import learn
from training.fitting.targets import Kind
from training.gated.experiment import Experiment
from training.gated.nets import GUIDED_LOSS, GUIDED_TARGETS, make_targets
from training.gated.stages import ReadyStage, make_stage
from training.nets.autoencoders import CONVOLUTIONAL, DENSE, Autoencoder
from training.nets.converter import Converter, FixedAutoencoder, FixedClassifier

CLASSIFIER = "light-distilled"


@dataclass(frozen=True, slots=True)
class ConverterOptions:
    """What a user may choose; the defaults are the recipe's."""

    dense: bool = False  # the paper's layers, not the convolutional autoencoder
    targets: Kind = GUIDED_TARGETS
    error: Error = GUIDED_LOSS.error
    activity: float = GUIDED_LOSS.activity
    guide: float = GUIDED_LOSS.guide
    tuned: bool = False  # the light classifier then learns on conversions

    def __post_init__(self) -> None:
        for name, value in (("activity", self.activity), ("guide", self.guide)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: {value} given, a number from 0 on is needed")

    @property
    def name(self) -> str:
        """The net's name; other options give another one."""
        return f"converter-{hashlib.sha256(repr(self).encode()).hexdigest()[:8]}"


def train_converter(
    experiment: Experiment, options: ConverterOptions, console: Console
) -> Converter:
    """Train the converter to its last epoch, or read it from the folder. The experiment's nets must
    be finished.
    """
    torch.set_num_threads(1)
    classifier = experiment.load(CLASSIFIER)
    torch.manual_seed(experiment.seed)
    shape = DENSE if options.dense else CONVOLUTIONAL
    net = FixedClassifier(Autoencoder(shape, experiment.size), classifier)
    targets = make_targets(experiment, options.targets)
    loss = ConversionLoss(options.error, options.activity, options.guide)
    job = converting.job(
        options.name,
        net,
        experiment.data,
        targets,
        loss,
        seed=experiment.seed,
        epochs=experiment.epochs,
    )
    learn(job, experiment.folder, console)
    if not options.tuned:
        return net
    tuned = FixedAutoencoder(net.autoencoder, classifier.requires_grad_(True))
    tuning = budget.job(
        f"{options.name}-tuned",
        tuned,
        experiment.data,
        seed=experiment.seed,
        epochs=experiment.epochs,
        recipe=f"tuned after: {job.recipe};",
    )
    learn(tuning, experiment.folder, console)
    return tuned


def make_own_stage(experiment: Experiment, options: ConverterOptions, net: Converter) -> ReadyStage:
    """The trained converter as a stage."""
    name = f"{options.name}-tuned" if options.tuned else options.name
    references = make_targets(experiment, options.targets).references
    return make_stage(experiment, name, net, references=references)
