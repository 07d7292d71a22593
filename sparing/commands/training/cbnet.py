"""Options of `sparing train cbnet`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sparing.commands.training.options import Epochs, Out, Seed, Workers


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
        Path,
        typer.Option(
            help="Folder for trained nets and checkpoints, to resume from; sparing compare uses "
            "the same folder."
        ),
    ] = Path("runs/compare"),
    workers: Workers = 2,
    seed: Seed = 1,
    epochs: Epochs = None,
    dense: Annotated[
        bool,
        typer.Option(
            "--dense", help="Train the papers' dense autoencoder, not a convolutional one."
        ),
    ] = False,
    targets: Annotated[
        Targets, typer.Option(help="Which easy pictures are the converter's targets.")
    ] = Targets.clusters,
    error: Annotated[
        Error, typer.Option(help="Loss between a converted picture and its target.")
    ] = Error.bce,
    activity: Annotated[
        float, typer.Option(min=0, help="Weight of the loss on the hidden layers' activity.")
    ] = 1e-7,
    guide: Annotated[float, typer.Option(min=0, help="Weight of the light net's loss.")] = 0.3,
    tuned: Annotated[
        bool,
        typer.Option("--tuned", help="Also train the light net on converted pictures, at the end."),
    ] = False,
) -> None:
    """Train a gated converting autoencoder and write the route <data>-cbnet.

    A light net answers the easy pictures. The converter turns a hard picture
    into an easy one of the same class, and the light net classifies that. If
    the gate rejects the result, the full net answers.

    Trains seven nets: candidates for the light net, the converter, the full
    net, and BranchyNet, which separates easy pictures from hard ones. Held-out
    pictures select the light net and the gate.

    To resume after an interruption, run the same command again. To see whether
    a converter saves compute on your data, run sparing compare, which reuses
    these nets.

    With any of --dense, --targets, --error, --activity, --guide or --tuned, it
    trains one more converter and puts it into the route instead of the
    standard one.

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
