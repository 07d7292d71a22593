"""The nets of the frozen classifier's company: how each learns to live with corrupted pictures.

The contest's `light` net is the deployed one. What stands before it learns by CBNet's loss
(`training.fitting.converting`) on corrupted pictures: `converted` towards an easy picture of the
class, `cleaned` towards the picture as it was, `guided` and `cleaned and guided` towards that and
the frozen classifier's right answer. `retrained` is a net of the same shape that learns its classes
from corrupted pictures. Each has `EPOCHS` epochs, or fewer where the contest had. What they are
worth is `compare_frozen`'s.
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

from benchmarks.compare_frozen import (
    AS_IT_IS,
    CLEANED,
    CONVERTED,
    GUIDED,
    GUIDED_CLEANED,
    RETRAINED,
    frozen_file,
)
from benchmarks.contestants import seed_folder
from benchmarks.corruptions import corrupt_mixed
from training.contest_nets import GUIDED_GOAL, Studio, choose_goals
from training.data.sets import DataSet
from training.export.converters import check_stage, export_classifier, export_converter
from training.export.cost import count_macs
from training.fitting import budget, converting
from training.fitting.converting import Goal
from training.fitting.loop import Job, is_finished, train
from training.fitting.targets import Targets
from training.nets.autoencoders import CONVOLUTIONAL, Autoencoder
from training.nets.converter import FixedClassifier

FROZEN = "light"
EPOCHS = 8
PARITY_ROWS = 500


def train_frozen(
    data: DataSet, runs: Path, seed: int, epochs: int | None, console: Console
) -> None:
    """Train what is not trained yet; ValueError where the contest of that seed was not run."""
    torch.set_num_threads(1)
    folder = seed_folder(runs, data.name, seed)
    studio = Studio(data, folder, seed, min(epochs or EPOCHS, EPOCHS))
    if not (studio.folder / f"{FROZEN}.safetensors").exists():
        raise ValueError(f"{studio.folder} has no net {FROZEN}, which is to be frozen")
    targets = choose_goals(studio, "clusters")
    place = frozen_file(runs, data.name, seed, AS_IT_IS)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(studio.folder / f"{FROZEN}.onnx", place)
    _tell_macs(place)
    for variant, job in make_jobs(studio, targets).items():
        path = frozen_file(runs, data.name, seed, variant)
        if not is_finished(job.name, path.parent, job.recipe) or not path.exists():
            train(job, path.parent, lambda line: console.print(f"frozen {line}"))
            _export(studio, job, targets, path)


def make_jobs(studio: Studio, targets: Targets) -> dict[str, Job]:
    """By variant, how each learns."""
    jobs = {
        variant: _make_converting(studio, targets, name, goal, clean=clean)
        for variant, name, goal, clean in (
            (CONVERTED, "converts", Goal(), False),
            (GUIDED, "guides", GUIDED_GOAL, False),
            (CLEANED, "cleans", Goal(), True),
            (GUIDED_CLEANED, "guides-cleaning", GUIDED_GOAL, True),
        )
    }
    torch.manual_seed(studio.seed)
    plain = budget.job(
        "retrains", studio.build(FROZEN), studio.data, seed=studio.seed, epochs=studio.epochs,
        recipe="on corrupted pictures",
    )  # fmt: skip
    return jobs | {RETRAINED: _corrupt(plain, clean=False)}


def _make_converting(
    studio: Studio, targets: Targets, name: str, goal: Goal, *, clean: bool
) -> Job:
    frozen = studio.load(FROZEN)
    torch.manual_seed(studio.seed)
    net = FixedClassifier(Autoencoder(CONVOLUTIONAL, studio.size), frozen)
    job = converting.job(
        name, net, studio.data, targets, goal, seed=studio.seed, epochs=studio.epochs,
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


def _export(studio: Studio, job: Job, targets: Targets, path: Path) -> None:
    net: nn.Module = job.net.eval()
    if isinstance(net, FixedClassifier):
        export_converter(net, targets.references, path, studio.size)
    else:
        export_classifier(net, path, studio.size)
    check_stage(net, path, studio.data.held_out.pictures[:PARITY_ROWS])
    _tell_macs(path)


def _tell_macs(path: Path) -> None:
    path.with_suffix(".json").write_text(json.dumps({"macs": count_macs(path)}) + "\n")
