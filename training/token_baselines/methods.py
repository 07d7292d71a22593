"""The baselines by name: how each net is made from the trained one, and how it learns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tokens.vision_transformer import VisionTransformer
from training.choosing.replay import accuracy
from training.fitting.loop import Job
from training.fitting.vit import task_loss
from training.nets.predicting import predict
from training.token_baselines.early_exits import ExitVit
from training.token_baselines.merging import MergingVit
from training.token_baselines.setting import Setting, make_job
from training.token_baselines.smaller import Size, cut

DENSE = "dense-further"
FINE_TUNING_RATE, CUT_RATE = 5e-4, 1e-3  # a cut net has more to recover
MERGED = (2, 4, 6, 8, 12, 16, 24)  # tokens a layer; drawn for each batch
JUDGED_MERGED = 6
SIZES = {
    "smaller-large": Size(2 / 3, 1),
    "smaller-middle": Size(2 / 3, 1 / 2),
    "smaller-small": Size(1 / 3, 1 / 2),
}


@dataclass(frozen=True, slots=True)
class Method:
    """`build` makes the net from the trained one; random numbers are torch's: seed it before."""

    build: Callable[[VisionTransformer], nn.Module]
    rate: float = FINE_TUNING_RATE

    def make_job(self, setting: Setting, name: str, epochs: int) -> Job:
        """How it learns, for the loop."""
        torch.manual_seed(setting.seed)
        net = self.build(setting.dense)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return make_job(
            setting,
            name,
            net,
            epochs=epochs,
            rate=self.rate,
            groups=_groups(net),
            loss=_choose_loss(net),
            judge=partial(_judge, net, setting),
        )


METHODS: Mapping[str, Method] = {
    DENSE: Method(partial(cut, size=Size(1, 1))),
    **{name: Method(partial(cut, size=size), CUT_RATE) for name, size in SIZES.items()},
    "exits-frozen": Method(partial(ExitVit, frozen=True)),
    "exits-trained": Method(partial(ExitVit, frozen=False)),
    "merging": Method(partial(MergingVit, merged=JUDGED_MERGED)),
}


def _groups(net: nn.Module) -> list[dict[str, Any]]:
    return net.groups() if isinstance(net, ExitVit) else [{"params": [*net.parameters()]}]


def _choose_loss(net: nn.Module) -> Callable[..., Tensor]:
    if isinstance(net, ExitVit):
        return net.loss

    def loss(pictures: Tensor, labels: Tensor, taught: Tensor | None = None) -> Tensor:
        if isinstance(net, MergingVit):
            merged = MERGED[int(torch.randint(len(MERGED), ()))]
            return task_loss(net.run(pictures, merged), labels, taught)
        return task_loss(net(pictures), labels, taught)

    return loss


def _judge(net: nn.Module, setting: Setting) -> float:
    """The mean accuracy of all exits on held-out pictures."""
    held_out = setting.data.held_out
    return float(
        np.mean([accuracy(one, held_out.labels) for one in predict(net, held_out.pictures)])
    )
