"""The command `sparing train cbnet`: its options."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sparing.train_options import Epochs, Out, Seed, Workers


class Targets(StrEnum):
    clusters = "clusters"
    prototype = "prototype"
    random = "random"


class Error(StrEnum):
    bce = "bce"
    mse = "mse"


def train_cbnet(
    data: Annotated[str, typer.Option(help="The data set: fashion-mnist or mnist.")] = (
        "fashion-mnist"
    ),
    out: Out = Path("models"),
    runs: Annotated[
        Path, typer.Option(help="What is kept to resume from; sparing compare shares it.")
    ] = Path("runs/compare"),
    workers: Workers = 2,
    seed: Seed = 1,
    epochs: Epochs = None,
    dense: Annotated[
        bool, typer.Option("--dense", help="The papers' autoencoder, not the convolutional one.")
    ] = False,
    targets: Annotated[
        Targets, typer.Option(help="The easy pictures that are targets.")
    ] = Targets.clusters,
    error: Annotated[
        Error, typer.Option(help="The error of a conversion against its target.")
    ] = Error.bce,
    activity: Annotated[
        float, typer.Option(min=0, help="Weight of the hidden layers' activity.")
    ] = 1e-7,
    guide: Annotated[float, typer.Option(min=0, help="Weight of the light net's loss.")] = 0.3,
    tuned: Annotated[
        bool, typer.Option("--tuned", help="Then train the light net on converted pictures.")
    ] = False,
) -> None:
    """Train a gated converting autoencoder and write the route <data>-cbnet.

    A light net answers the easy pictures. Hard ones are converted to easy ones
    of their class and classified again. Where the gate does not accept the
    result, a full net answers.

    Trains the seven nets that this takes: candidates for the light net, the
    converter, the full net, and BranchyNet, which tells easy pictures from hard
    ones. The held-out pictures choose the light net and the gate. Interrupted,
    it resumes with the same command. To see whether a converter pays on your
    data, run sparing compare, which reuses these nets.

    With an option from --dense on, one more converter is trained and takes the
    standard one's place in the route.

    [bold]sparing train cbnet --data mnist[/]  about ten minutes on two cores

    [bold]sparing train cbnet --epochs 1 --out /tmp/models --runs /tmp/runs[/]  a trial
    """
    from sparing.recipes import failing_with_message, import_recipe

    with failing_with_message():
        recipe = import_recipe("training.cbnet")
        options = recipe.ConverterOptions(dense, targets.value, error.value, activity, guide, tuned)
        written = recipe.train(
            data, out, runs, workers=workers, seed=seed, epochs=epochs, options=options
        )
    print(written)
