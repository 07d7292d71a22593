"""The nets of the study: those of a gated converter, the papers' own converter, and the controls.

All are trained under one budget, `training.fitting.budget`. Run as a process of its own (`python -m
studies.converters.nets`) the module trains one of them.
"""

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from training.fitting.converting import ConversionLoss
from training.fitting.targets import Kind
from training.gated import nets as gated
from training.gated.experiment import Experiment, NetRecipe, run_process
from training.gated.nets import build_cnn, converter_job, plain_job, truncated_net
from training.nets.autoencoders import CONVOLUTIONAL, DENSE, Autoencoder, EncoderClassifier, Mlp
from training.nets.converter import FixedClassifier
from training.nets.pools import Conv, NetSpec

SMALL = NetSpec("small", (Conv(16, 2), Conv(32, 2)), 0, erase=False)
MLP_WIDTHS = (656, 512)  # 855,296 MACs; dense autoencoder and truncated B-LeNet: 855,542
PUBLISHED_TARGETS: Kind = "prototype"
PUBLISHED_LOSS = ConversionLoss()


def _dense_converter(experiment: Experiment) -> nn.Module:
    return FixedClassifier(Autoencoder(DENSE, experiment.size), truncated_net(experiment))


def _plain_encoder(experiment: Experiment) -> nn.Module:
    encoder = Autoencoder(CONVOLUTIONAL, experiment.size).encoder
    return EncoderClassifier(encoder, experiment.classes, frozen=False)


NETS: Mapping[str, NetRecipe] = MappingProxyType(
    {
        **gated.NETS,
        "converter": NetRecipe(
            _dense_converter,
            converter_job(PUBLISHED_TARGETS, PUBLISHED_LOSS),
            (DENSE, PUBLISHED_TARGETS, PUBLISHED_LOSS),
            PUBLISHED_TARGETS,
            after=("branchynet",),
        ),
        "small": NetRecipe(build_cnn(SMALL), plain_job, SMALL),
        "mlp": NetRecipe(
            lambda experiment: Mlp(MLP_WIDTHS, experiment.size, experiment.classes),
            plain_job,
            MLP_WIDTHS,
        ),
        "plain-encoder": NetRecipe(_plain_encoder, plain_job, CONVOLUTIONAL, budgets=2),
    }
)


if __name__ == "__main__":
    run_process(NETS)
