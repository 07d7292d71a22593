"""Options of `sparing train vlm`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sparing.commands.training.options import Epochs, Seed
from sparing.commands.training.vit import Threads


class Curriculum(StrEnum):
    whole = "whole"
    budgets = "budgets"
    short = "short"


def train_vlm(
    curriculum: Annotated[
        Curriculum,
        typer.Option(
            help="Which curriculum: budgets continues the model of whole, so that it serves every "
            "number of visual tokens; short is for comparing trainings."
        ),
    ] = Curriculum.whole,
    pyramid_drop: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="RATIO",
            help="Drop visual tokens while training: each quarter of the layers reads this share "
            "of what the quarter before reads.",
        ),
    ] = None,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="Train the twin that gets no pictures.")
    ] = False,
    runs: Annotated[
        Path, typer.Option(help="Folder for the trained model and its checkpoint, to resume from.")
    ] = Path("runs/vlm"),
    out: Annotated[
        Path | None,
        typer.Option(help="Write the route vlm-small into this folder. [dim]Default: none.[/]"),
    ] = None,
    threads: Threads = 1,
    seed: Seed = 1,
    epochs: Epochs = None,
) -> None:
    """Train a small vision-language model.

    It answers questions about grids of garments, objects and numbers, which
    are drawn from Fashion-MNIST, CIFAR-10 and MNIST. The table at the end has
    its accuracy on held-out pictures, by family of questions. With --out it
    becomes a route, for which fewer visual tokens are tried on held-out
    questions.

    To resume after an interruption, run the same command again.

    [bold]sparing train vlm[/]
    [bold]sparing train vlm --curriculum budgets --out models[/]  the route vlm-small

    [bold]sparing train vlm --text-only[/]  what can be answered without a picture

    [bold]sparing train vlm --curriculum short --pyramid-drop 0.5[/]
    with fewer visual tokens in the deeper layers
    """
    from sparing.recipes import failing_with_message, import_recipe

    with failing_with_message():
        recipe = import_recipe("training.vlm")
        recipe.train(
            runs,
            curriculum=curriculum.value,
            ratio=pyramid_drop,
            blind=text_only,
            seed=seed,
            epochs=epochs,
            threads=threads,
            out=out,
        )
