"""What all baselines share: the trained net, the data, the teacher and the budget of a training.

The budget is that of the last phase of nets with learners (`training.token_choice.end_to_end`): its
batches, augmentation, loss, warm-up and clipping, without weight decay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tokens.vision_transformer import VisionTransformer
from training.data.sets import DataSet
from training.fitting.loop import Job, learning_rate
from training.fitting.route_teacher import Teacher
from training.fitting.vit import CLIP_NORM, count_steps, draw_batches
from training.nets.predicting import Logits, predict

WARM_UP_EPOCHS = 0.5


class DenseTeacher:
    """The trained net itself teaches."""

    def __init__(self, net: VisionTransformer, identity: str) -> None:
        self._net = net
        self.name = f"dense:{identity}"

    def answer(self, pictures: npt.NDArray[np.uint8]) -> Logits:
        """Logits [N, classes]."""
        return predict(self._net, pictures)[0]


@dataclass(frozen=True, slots=True)
class Setting:
    """`origin`: what decided the weights of the trained net, as one line."""

    dense: VisionTransformer
    data: DataSet
    teacher: Teacher
    seed: int
    origin: str


def make_job(
    setting: Setting,
    name: str,
    net: nn.Module,
    *,
    epochs: int,
    rate: float,
    groups: list[dict[str, Any]],
    loss: Callable[..., Tensor],
    judge: Callable[[], float],
) -> Job:
    """How a baseline learns, for the loop; `rate` is its peak."""
    return Job(
        name=name,
        net=net,
        recipe=(
            f"{setting.origin} {name} seed={setting.seed} epochs={epochs} rate={rate} "
            f"teacher={setting.teacher.name} data={setting.data.identity}"
        ),
        seed=setting.seed,
        epochs=epochs,
        optimizer=torch.optim.AdamW(groups, lr=rate, weight_decay=0.0, fused=True),
        learning_rate=partial(
            learning_rate, epochs=epochs, peak=rate, warm_up_epochs=WARM_UP_EPOCHS
        ),
        steps=count_steps(setting.data),
        batches=partial(draw_batches, setting.data, setting.teacher),
        loss=loss,
        judge=judge,
        clip_norm=CLIP_NORM,
    )
