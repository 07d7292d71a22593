"""How a converter learns to turn pictures into easy pictures of their class.

After CBNet (arXiv 2403.07036): binary cross-entropy or squared error against the target, and a
small weight on the hidden layers' activity. In addition, `guide` adds the loss of the light
classifier on the converted picture, so that the conversion keeps what the classifier needs. The
classifier's weights stay fixed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from training.data.sets import DataSet
from training.fitting.budget import (
    BATCH_ROWS,
    augment_lightly,
    describe_budget,
    make_job,
)
from training.fitting.loop import Job, precision, shuffle
from training.fitting.targets import Targets
from training.nets.converter import FixedClassifier

Error = Literal["bce", "mse"]


@dataclass(frozen=True, slots=True)
class ConversionLoss:
    """The parts of the loss on a converted picture, and their weights."""

    error: Error = "bce"
    activity: float = 1e-7  # the weight of the hidden layers' summed activity
    guide: float = 0.0  # the weight of the classifier's loss on the converted picture


def job(
    name: str,
    net: FixedClassifier,
    data: DataSet,
    targets: Targets,
    settings: ConversionLoss,
    *,
    seed: int,
    epochs: int,
    recipe: str = "",
) -> Job:
    """How the autoencoder learns, for `loop.train`; the classifier's accuracy judges it."""
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batches(rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        for rows in shuffle(len(data.train.labels), BATCH_ROWS, rng):
            labels = data.train.labels[rows]
            arrays = (augment_lightly(data, rows, rng), targets.draw(rows, labels, rng), labels)
            yield tuple(torch.from_numpy(array) for array in arrays)

    def loss(pictures: Tensor, wanted: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision() == "bf16"):
            converted, activity = net.autoencoder.convert(pictures)
        converted = converted.float()
        total = (
            _error(converted, wanted.float() / 255.0, settings.error) + settings.activity * activity
        )
        if settings.guide:
            total = total + settings.guide * nn.functional.cross_entropy(
                net.classify(converted), labels
            )
        return total

    return make_job(
        name,
        net,
        data,
        seed=seed,
        epochs=epochs,
        recipe=_describe(net, data, targets, settings, seed, epochs, recipe),
        learns=net.autoencoder,
        batches=batches,
        loss=loss,
    )


def _error(converted: Tensor, wanted: Tensor, error: str) -> Tensor:
    if error == "mse":
        return nn.functional.mse_loss(converted, wanted)
    return nn.functional.binary_cross_entropy(converted, wanted)


def _describe(
    net: nn.Module,
    data: DataSet,
    targets: Targets,
    settings: ConversionLoss,
    seed: int,
    epochs: int,
    more: str,
) -> str:
    """All that decides the weights, as one line."""
    classifier = [value for name, value in net.state_dict().items() if "classifier" in name]
    fixed = hashlib.sha256(b"".join(value.numpy().tobytes() for value in classifier))
    goals = hashlib.sha256(targets.pictures.tobytes()).hexdigest()[:16]
    layers = hashlib.sha256(str(net).encode()).hexdigest()[:16]
    return (
        f"{more} net={layers} classifier={fixed.hexdigest()[:16]} targets={targets.kind}:{goals} "
        f"{settings} seed={seed} epochs={epochs} {describe_budget(data)}"
    ).strip()
