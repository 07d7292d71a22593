"""Options of `sparing train vit`."""

from pathlib import Path
from typing import Annotated

import typer

from sparing.commands.training.options import Epochs, Out, Seed

TaughtBy = Annotated[
    Path | None,
    typer.Option(
        help="Learn also from the answers of this route's single net, a directory "
        "<route>/<version>."
    ),
]
Threads = Annotated[int, typer.Option(min=1, help="Train with this many threads.")]
Data = Annotated[
    str, typer.Option(help="The data set: fashion-mnist, mnist, cifar10 or tiny-imagenet-30.")
]


def train_vit(
    data: Data = "fashion-mnist",
    taught_by: TaughtBy = None,
    out: Out = Path("models"),
    runs: Annotated[
        Path, typer.Option(help="Folder for the trained net and its checkpoint, to resume from.")
    ] = Path("runs/acm"),
    threads: Threads = 1,
    seed: Seed = 1,
    epochs: Epochs = None,
) -> None:
    """Train a dense vision transformer and write the route <data>-vit.

    sparing train acm converts its weights, <runs>/<data>/vit.safetensors.

    To resume after an interruption, run the same command again.

    [bold]sparing train vit --taught-by models/fashion-mnist-large/2[/]
    a transformer that learns from a CNN, too
    """
    from sparing.recipes import failing_with_message, import_recipe

    with failing_with_message():
        recipe = import_recipe("training.vit")
        written = recipe.train(
            data,
            out,
            runs / data,
            taught_by=taught_by,
            seed=seed,
            epochs=epochs or recipe.EPOCHS,
            threads=threads,
        )
    print(written)
