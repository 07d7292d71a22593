"""An untrained net of a pool, made for one data set, with its first weights."""

import torch
from torch import nn

from training.data.sets import DataSet
from training.nets.pools import Classifier, NetSpec, Whiten, whiten

WHITENING_ROWS = 5_000


def build_net(spec: NetSpec, data: DataSet) -> Classifier:
    """The untrained net for this data set's picture size, classes and statistics."""
    source = data.source
    net = Classifier(
        spec,
        size=data.train.pictures.shape[1],
        classes=len(source.labels),
        mean=source.mean,
        std=source.std,
    )
    if isinstance(spec.layers[0], Whiten):
        whiten(net, torch.from_numpy(data.train.pictures[:WHITENING_ROWS]))
        _begin_as_identity(net)
    return net


def _begin_as_identity(net: Classifier) -> None:
    """Each 3x3 convolution passes its inputs on, in its first channels (Jordan, 2404.00498)."""
    for module in net.body.modules():
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad:
            nn.init.dirac_(module.weight[: module.in_channels])
