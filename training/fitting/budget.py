"""The one training budget of all nets that are compared.

AdamW, batches of 128, a linear warm-up and a cosine, light augmentation, the same number of epochs
for every net of a data set. A net may answer at several exits: it is supervised deeply, with a
weight an exit (BranchyNet, arXiv 1709.01686; Lee et al., arXiv 1409.5185). It may learn from a
teacher's logits too (Hinton et al., arXiv 1503.02531). The loop itself is in `loop`.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.choosing.replay import accuracy
from training.data.augment import augment
from training.data.sets import DataSet
from training.fitting.loop import Job, learning_rate, precision, shuffle
from training.nets.predicting import Logits, predict, split_exits

EPOCHS: Mapping[str, int] = {"mnist": 20, "fashion-mnist": 30}
MIRRORED = frozenset({"fashion-mnist"})  # a mirrored boot is a boot, a mirrored 3 is no digit
SHIFT_PX = 1  # small nets lose more by larger shifts than they learn
BATCH_ROWS = 128
PEAK_LEARNING_RATE = 5e-3
WEIGHT_DECAY = 1e-2
WARM_UP_EPOCHS = 1.0
TEMPERATURE = 4.0  # of distillation
TEACHER_SHARE = 0.5  # of the loss; the labels have the rest


def job(
    name: str,
    net: nn.Module,
    data: DataSet,
    *,
    seed: int,
    epochs: int,
    weights: Sequence[float] = (1.0,),
    teacher: Logits | None = None,
    self_distillation: bool = False,
    recipe: str = "",
) -> Job:
    """How this net learns its classes, for `loop.train`.

    The net takes uint8 pictures and gives logits, or a tuple of logits, one an exit; `weights` are
    those of the exits' losses. `teacher`: logits of `data.train`, row by row. With
    `self_distillation` the last exit teaches those before it. `recipe` names what else decides the
    weights, such as the initial ones. Seed torch before the net is built.
    """
    rows_of = data.train
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert teacher is None or len(teacher) == len(rows_of.labels), "a teacher's answer a row"

    def batches(rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        for rows in shuffle(len(rows_of.labels), BATCH_ROWS, rng):
            pictures = augment_lightly(data, rows, rng)
            tensors = [torch.from_numpy(pictures), torch.from_numpy(rows_of.labels[rows])]
            if teacher is not None:
                tensors.append(torch.from_numpy(teacher[rows]))
            yield tuple(tensors)

    def loss(pictures: Tensor, labels: Tensor, taught: Tensor | None = None) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision() == "bf16"):
            exits = [logits.float() for logits in split_exits(net(pictures))]
        own = exits[-1].detach() if self_distillation else None
        losses = [_loss(logits, labels, own if taught is None else taught) for logits in exits[:-1]]
        losses.append(_loss(exits[-1], labels, taught))
        return sum(
            (weight * one for weight, one in zip(weights, losses, strict=True)), torch.zeros(())
        )

    return make_job(
        name,
        net,
        data,
        seed=seed,
        epochs=epochs,
        recipe=_describe(net, data, seed, epochs, weights, teacher, self_distillation, recipe),
        learns=net,
        batches=batches,
        loss=loss,
    )


def make_job(
    name: str,
    net: nn.Module,
    data: DataSet,
    *,
    seed: int,
    epochs: int,
    recipe: str,
    learns: nn.Module,  # the net, or the part of it that does
    batches: Callable[[np.random.Generator], Iterator[tuple[Tensor, ...]]],
    loss: Callable[..., Tensor],
) -> Job:
    """Any net under the budget; its last exit's accuracy on held-out pictures judges it."""
    return Job(
        name=name,
        net=net,
        recipe=recipe,
        seed=seed,
        epochs=epochs,
        optimizer=torch.optim.AdamW(
            [parameter for parameter in learns.parameters() if parameter.requires_grad],
            lr=PEAK_LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        ),
        learning_rate=partial(
            learning_rate, epochs=epochs, peak=PEAK_LEARNING_RATE, warm_up_epochs=WARM_UP_EPOCHS
        ),
        steps=len(data.train.labels) // BATCH_ROWS,
        batches=batches,
        loss=loss,
        judge=lambda: accuracy(predict(net, data.held_out.pictures)[-1], data.held_out.labels),
    )


def augment_lightly(
    data: DataSet, rows: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """These training pictures, with the augmentation of every net under the budget."""
    mirror = data.name in MIRRORED
    return augment(data.train.pictures[rows], rng, erase=False, mirror=mirror, shift_px=SHIFT_PX)


def describe_budget(data: DataSet) -> str:
    """The settings that all nets share, as part of a recipe line."""
    return (
        f"batch={BATCH_ROWS} rate={PEAK_LEARNING_RATE} decay={WEIGHT_DECAY} shift={SHIFT_PX} "
        f"data={data.identity}"
    )


def distillation(logits: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
    """Half from the labels, half from the teacher's softened answers."""
    softened = nn.functional.kl_div(
        nn.functional.log_softmax(logits / TEMPERATURE, dim=1),
        nn.functional.log_softmax(teacher / TEMPERATURE, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    hard = nn.functional.cross_entropy(logits, labels)
    return (1 - TEACHER_SHARE) * hard + TEACHER_SHARE * TEMPERATURE**2 * softened


def _loss(logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
    if teacher is None:
        return nn.functional.cross_entropy(logits, labels)
    return distillation(logits, labels, teacher)


def _describe(
    net: nn.Module,
    data: DataSet,
    seed: int,
    epochs: int,
    weights: Sequence[float],
    teacher: Logits | None,
    self_distillation: bool,
    more: str,
) -> str:
    """All that decides the weights, as one line: two runs with the same line give the same net."""
    shapes = [(name, tuple(value.shape)) for name, value in net.state_dict().items()]
    layers = hashlib.sha256(f"{net}{shapes}".encode()).hexdigest()[:16]
    taught = "none" if teacher is None else hashlib.sha256(teacher.tobytes()).hexdigest()[:16]
    return (
        f"{more} net={layers} seed={seed} epochs={epochs} weights={list(weights)} teacher={taught} "
        f"self={self_distillation} {describe_budget(data)}"
    ).strip()
