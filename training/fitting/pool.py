"""Train a pool's members as processes of one thread each, biggest first.

Members that an earlier run finished with the same recipe are kept; interrupted ones resume from
their last epoch. `training.fitting.pool_net` trains one member;
`training.fitting.job_runner` runs the processes.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from training.data.sets import DataSet
from training.fitting.job_runner import Task, train_all
from training.fitting.loop import is_finished
from training.fitting.pool_net import recipe_of
from training.nets.pools import NetSpec

Command = Callable[[NetSpec], Sequence[str]]


def train_pool(
    pool: Sequence[NetSpec],
    data: DataSet,
    runs: Path,
    *,
    workers: int,
    seed: int,
    epochs: int | None = None,
    command: Command | None = None,
    console: Console | None = None,
) -> None:
    """Train every member to its last epoch in `runs`. Raises ValueError that names the member that
    failed, and why."""
    command = command or _fit_command(data.name, runs, seed, epochs)
    tasks = []
    for spec in reversed(pool):  # pools are listed from small to big
        total = epochs or spec.epochs
        recipe = recipe_of(spec, data, seed=seed, epochs=total)
        finished = partial(is_finished, spec.name, runs, recipe)
        tasks.append(Task(spec.name, total, partial(command, spec), finished))
    train_all(tasks, runs, workers=workers, console=console)


def _fit_command(data: str, runs: Path, seed: int, epochs: int | None) -> Command:
    def command(spec: NetSpec) -> Sequence[str]:
        options = ["--data", data, "--net", spec.name, "--folder", str(runs), "--seed", str(seed)]
        if epochs is not None:
            options += ["--epochs", str(epochs)]
        return [sys.executable, "-m", "training.fitting.pool_net", *options]

    return command
