"""The nets that a gated converter needs, and how each is built and trained.

A light net, a full net, the converter and the light net behind it; BranchyNet, which tells the
easy pictures from the hard ones, and LeNet, with whose weights BranchyNet begins. Run as a process
of its own (`python -m training.gated.nets`) the module trains one of them.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn

from training.data.sets import DataSet
from training.fitting import budget, converting
from training.fitting.converting import ConversionLoss
from training.fitting.hardness import entropy_nats, find_easy
from training.fitting.loop import Job
from training.fitting.targets import Kind, Targets, choose_targets
from training.gated.experiment import Experiment, NetRecipe, run_process
from training.nets.autoencoders import CONVOLUTIONAL, Autoencoder, EncoderClassifier
from training.nets.converter import FixedClassifier
from training.nets.exit_net import ExitNet
from training.nets.lenet import EXIT_WEIGHTS, PAPER_NATS, branchynet, lenet, truncated
from training.nets.pools import Classifier, Conv, NetSpec
from training.nets.predicting import Logits, predict

LIGHT = NetSpec("light", (Conv(16, 2), Conv(16, 2)), 0, erase=False)
FULL = NetSpec("full", (Conv(16, 2), Conv(16), Conv(32, 2), Conv(32)), 0, erase=False)
EASY_NATS = 0.5  # for data sets that the papers do not have


def make_targets(experiment: Experiment, kind: Kind) -> Targets:
    """The targets of conversions: easy pictures, which leave BranchyNet at its first exit with the
    right label.
    """
    train_rows = experiment.data.train
    (logits,) = predict(truncated_net(experiment), train_rows.pictures)
    easy = find_easy(logits, train_rows.labels, find_nats(experiment.data), must_be_right=True)
    return choose_targets(
        kind,
        train_rows.pictures,
        train_rows.labels,
        easy,
        entropy_nats(logits),
        classes=experiment.classes,
        seed=experiment.seed,
    )


def find_nats(data: DataSet) -> float:
    """The entropy below which a picture leaves BranchyNet at its first exit."""
    return PAPER_NATS.get(data.name, EASY_NATS)


def truncated_net(experiment: Experiment) -> ExitNet:
    """BranchyNet up to its first exit: the papers' light classifier."""
    branchy = experiment.load("branchynet")
    assert isinstance(branchy, ExitNet)
    return truncated(branchy)


def build_cnn(spec: NetSpec) -> Callable[[Experiment], nn.Module]:
    """How to build a plain CNN."""

    def build(experiment: Experiment) -> nn.Module:
        source = experiment.data.source
        net = Classifier(
            spec,
            size=experiment.size,
            classes=experiment.classes,
            mean=source.mean,
            std=source.std,
        )
        return net.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]

    return build


def plain_job(experiment: Experiment, name: str, teacher: Logits | None = None) -> Job:
    """How a classifier learns; with `teacher`, from these logits too."""
    return budget.job(
        name,
        experiment.build(name),
        experiment.data,
        seed=experiment.seed,
        epochs=experiment.epochs * experiment.nets[name].budgets,
        weights=EXIT_WEIGHTS if name == "branchynet" else (1.0,),
        teacher=teacher,
        recipe=experiment.describe(name),
    )


def converter_job(kind: Kind, loss: ConversionLoss) -> Callable[[Experiment, str], Job]:
    """How a converter learns, towards targets of this kind."""

    def job(experiment: Experiment, name: str) -> Job:
        targets = make_targets(experiment, kind)
        net = experiment.build(name)
        assert isinstance(net, FixedClassifier)
        return converting.job(
            name,
            net,
            experiment.data,
            targets,
            loss,
            seed=experiment.seed,
            epochs=experiment.epochs,
            recipe=experiment.describe(name),
        )

    return job


def _distilled_job(experiment: Experiment, name: str) -> Job:
    (teacher,) = predict(experiment.load("full"), experiment.data.train.pictures)
    return plain_job(experiment, name, teacher)


def _branchynet(experiment: Experiment) -> nn.Module:
    main = experiment.load("lenet")
    assert isinstance(main, ExitNet)
    return branchynet(main, experiment.classes)


def _guided_converter(experiment: Experiment) -> nn.Module:
    light = experiment.load("light-distilled")
    return FixedClassifier(Autoencoder(CONVOLUTIONAL, experiment.size), light)


def _encoder_only(experiment: Experiment) -> nn.Module:
    guided = experiment.load("guided-converter")
    assert isinstance(guided, FixedClassifier)
    return EncoderClassifier(guided.autoencoder.encoder, experiment.classes, frozen=False)


GUIDED_TARGETS: Kind = "clusters"
GUIDED_LOSS = ConversionLoss(guide=0.3)  # with 1.0 only this classifier can read the conversions

# In the order in which they are trained, where the nets that they build on are finished.
NETS: Mapping[str, NetRecipe] = MappingProxyType(
    {
        "lenet": NetRecipe(lambda experiment: lenet(experiment.classes), plain_job),
        "full": NetRecipe(build_cnn(FULL), plain_job, FULL),
        "branchynet": NetRecipe(_branchynet, plain_job, EXIT_WEIGHTS, after=("lenet",)),
        "light-distilled": NetRecipe(build_cnn(LIGHT), _distilled_job, LIGHT, after=("full",)),
        "guided-converter": NetRecipe(
            _guided_converter,
            converter_job(GUIDED_TARGETS, GUIDED_LOSS),
            (CONVOLUTIONAL, GUIDED_TARGETS, GUIDED_LOSS),
            GUIDED_TARGETS,
            after=("branchynet", "light-distilled"),
        ),
        "light": NetRecipe(build_cnn(LIGHT), plain_job, LIGHT),
        "encoder-only": NetRecipe(_encoder_only, plain_job, after=("guided-converter",)),
    }
)


if __name__ == "__main__":
    run_process(NETS)
