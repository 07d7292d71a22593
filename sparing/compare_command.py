"""The command `sparing compare`: options, and nothing else. It becomes the benchmark's process."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sparing.benching import ROOT
from sparing.failure import Failure
from sparing.train_options import Epochs, Workers


class Compared(StrEnum):
    fashion_mnist = "fashion-mnist"
    mnist = "mnist"


class Part(StrEnum):
    train = "train"  # the contestants, then what stands before a frozen classifier
    frozen = "frozen"  # that alone
    replay = "replay"  # what a busy machine does not change
    measure = "measure"


def compare(
    data: Annotated[Compared, typer.Option(help="The data set.")] = Compared.fashion_mnist,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed, few epochs, short loads: inside an hour.")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=1, max=10, help="Trainings of everything; 3 or more for intervals.")
    ] = 3,
    runs: Annotated[Path, typer.Option(help="What is kept to resume from.")] = Path("runs/compare"),
    workers: Workers = 2,
    epochs: Epochs = None,
    only: Annotated[
        Part | None, typer.Option(help="A part of it: measuring wants a quiet machine.")
    ] = None,
) -> None:
    """Compare converters, early exits and plain small nets on one data set, fairly.

    LeNet, BranchyNet, CBNet in three forms and the controls that they must beat
    are trained under one budget, served by one server, and measured: accuracy
    over seeds, MACs, CPU and device time, joules, corrupted pictures, pictures
    of something else. Writes the measured parts of docs/reports/cbnet.md; a
    quick one writes into runs/bench/.

    Interrupted, it goes on where it was: trained nets and what was measured of
    them are kept in --runs.

    [bold]sparing compare --quick[/]  one seed, to see what comes of it

    [bold]sparing compare --data mnist[/]  three seeds; hours of training on two cores

    [bold]sparing compare --data mnist --only train[/]  measure later, on a quiet machine:
    [bold]sparing compare --data mnist --only measure[/]  some minutes
    """
    if not (ROOT / "benchmarks").is_dir():
        raise Failure(f"{ROOT}: no benchmarks here; they run from a clone of the repository")
    arguments = ["--data", data, "--seeds", str(seeds), "--workers", str(workers)]
    arguments += ["--runs", str(runs.absolute())] if runs != Path("runs/compare") else []
    arguments += ["--quick"] if quick else []
    arguments += ["--epochs", str(epochs)] if epochs is not None else []
    arguments += ["--only", only] if only is not None else []
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.compare", *arguments])
