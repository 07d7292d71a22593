"""The command `sparing compare`: its options. The benchmark replaces this process."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sparing.benching import ROOT
from sparing.failure import Failure
from sparing.train_options import Epochs, Workers


class Dataset(StrEnum):
    fashion_mnist = "fashion-mnist"
    mnist = "mnist"


class Part(StrEnum):
    train = "train"  # the candidates, then what precedes a frozen classifier
    frozen = "frozen"  # that alone
    replay = "replay"  # what does not depend on the machine's load
    measure = "measure"


def compare(
    data: Annotated[Dataset, typer.Option(help="The data set.")] = Dataset.fashion_mnist,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed, few epochs, short loads: less than an hour.")
    ] = False,
    seeds: Annotated[
        int,
        typer.Option(min=1, max=10, help="How often all is trained; 3 or more for intervals."),
    ] = 3,
    runs: Annotated[Path, typer.Option(help="What is kept to resume from.")] = Path("runs/compare"),
    workers: Workers = 2,
    epochs: Epochs = None,
    only: Annotated[
        Part | None, typer.Option(help="Only this part; measuring needs an idle machine.")
    ] = None,
) -> None:
    """Compare converters, early exits and plain small nets on one data set.

    Trains LeNet, BranchyNet, three forms of CBNet and their controls under one
    budget, serves them with one server, and measures accuracy over seeds, MACs,
    CPU and device time, joules, and answers on corrupted and
    out-of-distribution pictures. Writes the measured parts of
    docs/reports/cbnet.md; with --quick or --epochs, a report in runs/bench/.

    Interrupted, it resumes with the same command: trained nets and their
    measurements are kept in --runs.

    [bold]sparing compare --quick[/]  one seed, as a trial

    [bold]sparing compare --data mnist[/]  three seeds; hours of training on two cores

    [bold]sparing compare --data mnist --only train[/]  measure later, on an idle machine:
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
