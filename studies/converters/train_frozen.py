"""Networks that stand before or replace a frozen classifier on corrupted pictures, trained.

The study's `light` net is the deployed one. What stands before it learns by CBNet's loss
(`training.fitting.converting`) on corrupted pictures: `converted` towards an easy picture of the
class, `cleaned` towards the picture as it was, `guided` and `cleaned and guided` towards that and
the frozen classifier's right answer. `retrained` is a net of the same shape that learns its classes
from corrupted pictures. Each has `EPOCHS` epochs, or fewer where the study had.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from studies.converters.corruptions import corrupt_mixed
from studies.converters.frozen import (
    AS_IT_IS,
    CLEANED,
    CONVERTED,
    GUIDED,
    GUIDED_CLEANED,
    RETRAINED,
    frozen_file,
)
from studies.converters.nets import NETS
from training.data.sets import DataSet
from training.export.converters import check_stage, export_classifier, export_converter
from training.export.cost import count_macs
from training.fitting import budget, converting
from training.fitting.converting import ConversionLoss
from training.fitting.loop import Job, is_finished, train
from training.fitting.targets import Targets
from training.gated.experiment import Experiment
from training.gated.nets import GUIDED_LOSS, make_targets
from training.nets.autoencoders import CONVOLUTIONAL, Autoencoder
from training.nets.converter import FixedClassifier

FROZEN = "light"
EPOCHS = 8
PARITY_ROWS = 500


def train_frozen(
    data: DataSet, folder: Path, seed: int, epochs: int | None, console: Console
) -> None:
    """Train what is not trained yet; ValueError where the study of that seed was not trained."""
    torch.set_num_threads(1)
    experiment = Experiment(data, folder, seed, min(epochs or EPOCHS, EPOCHS), NETS)
    if not (experiment.folder / f"{FROZEN}.safetensors").exists():
        raise ValueError(f"{experiment.folder} has no net {FROZEN}, which is to be frozen")
    targets = make_targets(experiment, "clusters")
    place = frozen_file(folder, AS_IT_IS)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(experiment.folder / f"{FROZEN}.onnx", place)
    _tell_macs(place)
    for variant, job in make_jobs(experiment, targets).items():
        path = frozen_file(folder, variant)
        if not is_finished(job.name, path.parent, job.recipe) or not path.exists():
            train(job, path.parent, lambda line: console.print(f"frozen {line}"))
            _export(experiment, job, targets, path)


def make_jobs(experiment: Experiment, targets: Targets) -> dict[str, Job]:
    """By variant, how each learns."""
    jobs = {
        variant: _make_converting(experiment, targets, name, loss, clean=clean)
        for variant, name, loss, clean in (
            (CONVERTED, "converts", ConversionLoss(), False),
            (GUIDED, "guides", GUIDED_LOSS, False),
            (CLEANED, "cleans", ConversionLoss(), True),
            (GUIDED_CLEANED, "guides-cleaning", GUIDED_LOSS, True),
        )
    }
    torch.manual_seed(experiment.seed)
    plain = budget.job(
        "retrains", experiment.build(FROZEN), experiment.data, seed=experiment.seed,
        epochs=experiment.epochs, recipe="on corrupted pictures",
    )  # fmt: skip
    return jobs | {RETRAINED: _corrupt(plain, clean=False)}


def _make_converting(
    experiment: Experiment, targets: Targets, name: str, loss: ConversionLoss, *, clean: bool
) -> Job:
    frozen = experiment.load(FROZEN)
    torch.manual_seed(experiment.seed)
    net = FixedClassifier(Autoencoder(CONVOLUTIONAL, experiment.size), frozen)
    job = converting.job(
        name, net, experiment.data, targets, loss, seed=experiment.seed, epochs=experiment.epochs,
        recipe=f"{name} corrupted pictures",
    )  # fmt: skip
    return _corrupt(job, clean=clean)


def _corrupt(job: Job, *, clean: bool) -> Job:
    """The same training with its pictures corrupted; `clean`: what they were is the target."""

    def batches(rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        for pictures, *others in job.batches(rng):
            corrupted = torch.from_numpy(corrupt_mixed(pictures.numpy(), rng))
            yield (corrupted, pictures, *others[1:]) if clean else (corrupted, *others)

    return replace(job, batches=batches)


def _export(experiment: Experiment, job: Job, targets: Targets, path: Path) -> None:
    net: nn.Module = job.net.eval()
    if isinstance(net, FixedClassifier):
        export_converter(net, targets.references, path, experiment.size)
    else:
        export_classifier(net, path, experiment.size)
    check_stage(net, path, experiment.data.held_out.pictures[:PARITY_ROWS])
    _tell_macs(path)


def _tell_macs(path: Path) -> None:
    path.with_suffix(".json").write_text(json.dumps({"macs": count_macs(path)}) + "\n")
