"""How a dense vision transformer learns: the budget that nets with learners share.

A route's net may teach it, by its answers to the same augmented pictures (DeiT, arXiv 2012.12877;
as "consistent teaching", Beyer et al., arXiv 2106.05237).
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from tokens.vision_transformer import CoarseSpec, VisionTransformer, VitSpec
from training.choosing.replay import accuracy
from training.data.augment import augment
from training.data.sets import DataSet
from training.fitting.budget import MIRRORED, distillation
from training.fitting.loop import Job, learning_rate, shuffle
from training.fitting.route_teacher import RouteTeacher, Teacher
from training.nets.predicting import predict

NAME = "vit"
BATCH_ROWS = 128
PEAK_LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 0.05
WARM_UP_EPOCHS = 0.5
CLIP_NORM = 1.0
SHIFT_SHARE = 1 / 32  # of the side, by which pictures are shifted at most
COARSE_FROM_PX = 64
LAYERS, HIDDEN = 3, 1024  # few layers with wide MLPs: there a choice for each token saves time


def spec_for(data: DataSet) -> VitSpec:
    """The standard architecture for this data set."""
    size_px = data.train.pictures.shape[1]
    architecture = CoarseSpec if size_px >= COARSE_FROM_PX else VitSpec
    return architecture(
        size_px=size_px,
        classes=len(data.source.labels),
        mean=data.source.mean,
        std=data.source.std,
        layers=LAYERS,
        hidden=HIDDEN,
    )


def make_job(
    spec: VitSpec, data: DataSet, teacher: RouteTeacher | None, *, seed: int, epochs: int
) -> Job:
    """How the net learns, for the loop."""
    torch.manual_seed(seed)
    net = VisionTransformer(spec)
    net.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(pictures: Tensor, labels: Tensor, taught: Tensor | None = None) -> Tensor:
        return task_loss(net(pictures), labels, taught)

    return Job(
        name=NAME,
        net=net,
        recipe=_describe(spec, data, teacher, seed, epochs),
        seed=seed,
        epochs=epochs,
        optimizer=torch.optim.AdamW(_groups(net), lr=PEAK_LEARNING_RATE, fused=True),
        learning_rate=partial(
            learning_rate, epochs=epochs, peak=PEAK_LEARNING_RATE, warm_up_epochs=WARM_UP_EPOCHS
        ),
        steps=count_steps(data),
        batches=partial(draw_batches, data, teacher),
        loss=loss,
        judge=lambda: accuracy(predict(net, data.held_out.pictures)[-1], data.held_out.labels),
        clip_norm=CLIP_NORM,
    )


def count_steps(data: DataSet) -> int:
    """Of an epoch."""
    return len(data.train.labels) // BATCH_ROWS


def draw_batches(
    data: DataSet, teacher: Teacher | None, rng: np.random.Generator
) -> Iterator[tuple[Tensor, ...]]:
    """An epoch's augmented pictures and labels, and a teacher's logits where there is one."""
    mirror = data.name in MIRRORED or data.train.pictures.ndim == 4
    for rows in shuffle(len(data.train.labels), BATCH_ROWS, rng):
        pictures = augment(
            data.train.pictures[rows], rng, erase=False, mirror=mirror, shift_px=shift_px(data)
        )
        tensors = [torch.from_numpy(pictures), torch.from_numpy(data.train.labels[rows])]
        if teacher is not None:
            tensors.append(torch.from_numpy(teacher.answer(pictures)))
        yield tuple(tensors)


def shift_px(data: DataSet) -> int:
    """By how much training shifts pictures at most."""
    side_px = int(data.train.pictures.shape[1])
    return max(1, round(SHIFT_SHARE * side_px))


def task_loss(logits: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
    """From the labels, and half from a teacher where there is one."""
    if taught is None:
        return nn.functional.cross_entropy(logits, labels)
    return distillation(logits, labels, taught)


def _groups(net: nn.Module) -> list[dict[str, object]]:
    """Weights decay; biases, norms and positions do not."""
    decayed = [p for name, p in net.named_parameters() if p.ndim > 1 and "positions" not in name]
    others = [p for name, p in net.named_parameters() if p.ndim <= 1 or "positions" in name]
    return [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]


def _describe(
    spec: VitSpec, data: DataSet, teacher: RouteTeacher | None, seed: int, epochs: int
) -> str:
    """All that decides the weights, as one line."""
    return (
        f"{spec} seed={seed} epochs={epochs} batch={BATCH_ROWS} rate={PEAK_LEARNING_RATE} "
        f"decay={WEIGHT_DECAY} clip={CLIP_NORM} shift={shift_px(data)} "
        f"teacher={teacher.name if teacher else 'none'} data={data.identity}"
    )
