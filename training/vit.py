"""The recipe of a dense vision transformer, the teacher of token-adaptive nets.

A compact net with a convolutional stem. A route's net may teach it, by its answers to the same
augmented pictures (DeiT, arXiv 2012.12877; as "consistent teaching", Beyer et al., arXiv
2106.05237). An interrupted training resumes in the same `runs` folder.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from tokens.vision_transformer import VisionTransformer, VitSpec
from training.choosing.replay import accuracy
from training.data.augment import augment
from training.data.sets import DataSet, load_data
from training.fitting.budget import MIRRORED, distillation
from training.fitting.in_process import learn
from training.fitting.loop import Job, learning_rate, shuffle
from training.fitting.route_teacher import RouteTeacher
from training.nets.predicting import predict

NAME = "vit"
EPOCHS = 12
BATCH_ROWS = 128
PEAK_LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 0.05
WARM_UP_EPOCHS = 1.0
CLIP_NORM = 1.0
SHIFT_PX = 2


def train(
    data: str,
    runs: Path,
    *,
    taught_by: Path | None = None,
    seed: int = 1,
    epochs: int = EPOCHS,
    threads: int = 1,
    console: Console | None = None,
) -> VisionTransformer:
    """Train the dense net, or read it from `runs` where it is finished.

    `taught_by`: the directory `<route>/<version>` of a single-net route. Raises ValueError in one
    sentence for unusable data, a route that cannot teach, or a folder of another recipe.
    """
    torch.set_num_threads(threads)
    data_set = load_data(data)
    teacher = None if taught_by is None else RouteTeacher(taught_by, data_set)
    job = make_job(spec_for(data_set), data_set, teacher, seed=seed, epochs=epochs)
    learn(job, runs, console or Console())
    assert isinstance(job.net, VisionTransformer)
    return job.net


def spec_for(data: DataSet) -> VitSpec:
    """The standard architecture for this data set."""
    return VitSpec(
        size_px=data.train.pictures.shape[1],
        classes=len(data.source.labels),
        mean=data.source.mean,
        std=data.source.std,
    )


def make_job(
    spec: VitSpec, data: DataSet, teacher: RouteTeacher | None, *, seed: int, epochs: int
) -> Job:
    """How the net learns, for the loop."""
    torch.manual_seed(seed)
    net = VisionTransformer(spec)
    net.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train_split = data.train

    def batches(rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        for rows in shuffle(len(train_split.labels), BATCH_ROWS, rng):
            pictures = augment(
                train_split.pictures[rows],
                rng,
                erase=True,
                mirror=data.name in MIRRORED or train_split.pictures.ndim == 4,
                shift_px=SHIFT_PX,
            )
            tensors = [torch.from_numpy(pictures), torch.from_numpy(train_split.labels[rows])]
            if teacher is not None:
                tensors.append(torch.from_numpy(teacher.answer(pictures)))
            yield tuple(tensors)

    def loss(pictures: Tensor, labels: Tensor, taught: Tensor | None = None) -> Tensor:
        logits = net(pictures)
        if taught is None:
            return nn.functional.cross_entropy(logits, labels)
        return distillation(logits, labels, taught)

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
        steps=len(train_split.labels) // BATCH_ROWS,
        batches=batches,
        loss=loss,
        judge=lambda: accuracy(predict(net, data.held_out.pictures)[-1], data.held_out.labels),
        clip_norm=CLIP_NORM,
    )


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
        f"decay={WEIGHT_DECAY} clip={CLIP_NORM} shift={SHIFT_PX} erase "
        f"teacher={teacher.name if teacher else 'none'} data={data.identity}"
    )
