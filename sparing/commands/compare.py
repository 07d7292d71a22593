"""Options of `sparing compare`. The benchmark then replaces this process."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sparing.benching import ROOT
from sparing.commands.training.options import Epochs, Workers
from sparing.failure import Failure


class Dataset(StrEnum):
    fashion_mnist = "fashion-mnist"
    mnist = "mnist"


class Part(StrEnum):
    train = "train"  # the candidates, then the converters in front of a frozen classifier
    frozen = "frozen"  # only those converters
    replay = "replay"  # the measurements that do not depend on the machine's load
    measure = "measure"


def compare(
    data: Annotated[Dataset, typer.Option(help="The data set.")] = Dataset.fashion_mnist,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A trial: one seed, few epochs, short loads. Under an hour."),
    ] = False,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, max=10, help="Train every net with this many seeds; intervals need 3 or more."
        ),
    ] = 3,
    runs: Annotated[
        Path, typer.Option(help="Folder for trained nets and checkpoints, to resume from.")
    ] = Path("runs/compare"),
    workers: Workers = 2,
    epochs: Epochs = None,
    only: Annotated[
        Part | None, typer.Option(help="Run only this part. measure needs an idle machine.")
    ] = None,
) -> None:
    """Compare converters, early exits and plain small nets on one data set.

    Trains LeNet, BranchyNet, three variants of CBNet and their controls under
    one training budget. Serves them all with the same server. Measures accuracy
    over seeds, MACs, CPU and device time, joules, and the answers on corrupted
    and out-of-distribution pictures.

    Writes the measured parts of docs/reports/cbnet.md. With --quick or --epochs
    it writes a report in runs/bench/ instead.

    To resume after an interruption, run the same command again: --runs keeps
    the trained nets and their measurements.

    [bold]sparing compare --quick[/]  one seed, as a trial

    [bold]sparing compare --data mnist[/]  three seeds; hours of training on two cores

    [bold]sparing compare --data mnist --only train[/]  train now

    [bold]sparing compare --data mnist --only measure[/]  measure later, on an idle
    machine; some minutes
    """
    if not (ROOT / "benchmarks").is_dir():
        raise Failure(f"{ROOT}: no benchmarks here; run them from a clone of the repository")
    arguments = ["--data", data, "--seeds", str(seeds), "--workers", str(workers)]
    arguments += ["--runs", str(runs.absolute())] if runs != Path("runs/compare") else []
    arguments += ["--quick"] if quick else []
    arguments += ["--epochs", str(epochs)] if epochs is not None else []
    arguments += ["--only", only] if only is not None else []
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.compare", *arguments])
