"""The command `sparing train cbnet`: options, and nothing else."""

from pathlib import Path
from typing import Annotated

import typer

from sparing.train_options import Epochs, Out, Seed, Workers


def train_cbnet(
    data: Annotated[str, typer.Option(help="The data set: fashion-mnist or mnist.")] = (
        "fashion-mnist"
    ),
    out: Out = Path("models"),
    runs: Annotated[
        Path, typer.Option(help="What is kept to resume from; sparing compare's, too.")
    ] = Path("runs/compare"),
    workers: Workers = 2,
    seed: Seed = 1,
    epochs: Epochs = None,
) -> None:
    """Train a converting autoencoder, and what it must beat; write the route <data>-cbnet.

    A light net answers the easy pictures. Hard ones are converted to easy ones
    of their class and classified again; where that does not convince, a full
    net answers.

    LeNet, BranchyNet, an MLP and small CNNs are trained beside it under the
    same budget: each becomes a route in --runs, for sparing compare.
    Interrupted, it goes on where it was.

    [bold]sparing train cbnet --data mnist[/]  ten nets, a quarter of an hour on two cores

    [bold]sparing train cbnet --epochs 1 --out /tmp/models --runs /tmp/runs[/]  a trial
    """
    from sparing.recipes import failing_in_a_sentence, import_recipe

    with failing_in_a_sentence():
        recipe = import_recipe("training.cbnet")
        written = recipe.train(data, out, runs, workers=workers, seed=seed, epochs=epochs)
    print(written)
