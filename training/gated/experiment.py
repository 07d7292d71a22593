"""An experiment: nets of one data set, one seed and one number of epochs, in one folder.

A net may build on others, which must be finished first. Each net trains in a process of its own, of
one thread. An interrupted experiment resumes: finished nets are kept, the others go on from their
last epoch.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from training.data.sets import DataSet, load_data
from training.fitting import budget
from training.fitting.job_runner import Task, train_all
from training.fitting.loop import Job, Report, is_finished, read_recipe, train
from training.fitting.targets import Kind

EPOCHS: Mapping[str, int] = {"mnist": 8, "fashion-mnist": 12}


@dataclass(frozen=True, slots=True)
class NetRecipe:
    """How a net of an experiment is built and trained."""

    build: "Callable[[Experiment], nn.Module]"
    job: "Callable[[Experiment, str], Job]"
    settings: object = None  # what decides the weights beside the code
    targets: Kind | None = None  # of a converter
    after: tuple[str, ...] = ()  # nets that it builds on
    budgets: int = 1  # times the epochs of the others


@dataclass(frozen=True, slots=True)
class Experiment:
    """The nets of one data set and seed, and the folder that holds them."""

    data: DataSet
    folder: Path
    seed: int
    epochs: int
    nets: Mapping[str, NetRecipe]

    @property
    def size(self) -> int:
        return int(self.data.train.pictures.shape[1])

    @property
    def classes(self) -> int:
        return len(self.data.source.labels)

    def build(self, name: str) -> nn.Module:
        """The untrained net. The nets that it builds on are read from the folder."""
        torch.manual_seed(self.seed)
        return self.nets[name].build(self)

    def load(self, name: str) -> nn.Module:
        """The trained net."""
        net = self.build(name)
        net.load_state_dict(load_file(self.folder / f"{name}.safetensors"))
        return net.eval()

    def is_finished(self, name: str) -> bool:
        """Whether the folder holds the trained net. Raises ValueError where it holds one of another
        seed, shape or budget.
        """
        line = read_recipe(name, self.folder)
        if line is None:
            return False
        shared = budget.describe_budget(self.data)
        if not line.startswith(self.describe(name)) or shared not in line:
            summary = self.folder / f"{name}.json"
            raise ValueError(f"{summary} is of another recipe; delete it or choose another folder")
        return is_finished(name, self.folder, line)

    def describe(self, name: str) -> str:
        """The first part of the net's recipe line: all that is known before it is built."""
        recipe = self.nets[name]
        of = "+".join(recipe.after) or "nothing"
        return (
            f"{name} {recipe.settings!r} of={of} seed={self.seed} "
            f"epochs={self.epochs} data={self.data.identity};"
        )


def open_experiment(
    data: str, runs: Path, nets: Mapping[str, NetRecipe], *, seed: int, epochs: int | None
) -> Experiment:
    """The experiment in `<runs>/<data>/seed<seed>`. Raises ValueError for data that the nets cannot
    take.
    """
    if epochs is None and data not in EPOCHS:
        raise ValueError(
            f"no number of epochs is set for {data!r}, only for {sorted(EPOCHS)}; give --epochs"
        )
    data_set = load_data(data)
    shape = data_set.train.pictures.shape[1:]
    if shape != (28, 28):
        raise ValueError(f"{data} has pictures of {list(shape)}, the nets take 28 x 28 grey ones")
    folder = runs / data / f"seed{seed}"
    return Experiment(data_set, folder, seed, epochs or EPOCHS[data], nets)


def train_net(experiment: Experiment, name: str, report: Report) -> None:
    """Train the net to the last epoch, continuing where an earlier call stopped."""
    torch.manual_seed(experiment.seed)
    train(experiment.nets[name].job(experiment, name), experiment.folder, report)


def train_nets(experiment: Experiment, module: str, workers: int, console: Console) -> None:
    """Train every net to its last epoch, each in a process that runs `module`, which must call
    `run_process` with the experiment's nets.
    """
    tasks = [
        Task(
            name,
            experiment.epochs * recipe.budgets,
            partial(_command, experiment, module, name),
            partial(experiment.is_finished, name),
            recipe.after,
        )
        for name, recipe in experiment.nets.items()
    ]
    train_all(tasks, experiment.folder, workers=workers, console=console)


def identify_nets(experiment: Experiment) -> str:
    """A hash of all nets' weights."""
    digest = hashlib.sha256()
    for name in experiment.nets:
        digest.update((experiment.folder / f"{name}.safetensors").read_bytes())
    return digest.hexdigest()


def run_process(nets: Mapping[str, NetRecipe]) -> None:
    """Train the net that the command line names; progress as JSON lines on stdout."""
    parser = argparse.ArgumentParser(description="Train one net of an experiment.")
    parser.add_argument("--data", required=True)
    parser.add_argument("--net", required=True, choices=list(nets))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(options.data)
    experiment = Experiment(data, options.folder, options.seed, options.epochs, nets)
    train_net(experiment, options.net, lambda line: print(json.dumps(line), flush=True))


def _command(experiment: Experiment, module: str, name: str) -> list[str]:
    options = {
        "--data": experiment.data.name,
        "--net": name,
        "--folder": str(experiment.folder),
        "--seed": str(experiment.seed),
        "--epochs": str(experiment.epochs),
    }
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-m", module, *words]
