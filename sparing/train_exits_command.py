"""The command `sparing train exits`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from sparing.train_options import Epochs, Out, Seed


def train_exits(
    data: Annotated[
        str, typer.Option(help="The data set: fashion-mnist, mnist or cifar10.")
    ] = "fashion-mnist",
    net: Annotated[
        str, typer.Option(help="lenet, the papers' net, or a net of the data set's pool.")
    ] = "cnn-8m",
    after: Annotated[
        list[int] | None,
        typer.Option(
            help="An exit after this layer; give it twice for two exits. [dim]Default: by net.[/]"
        ),
    ] = None,
    exit_weight: Annotated[
        list[float] | None,
        typer.Option(
            help="The weight of each exit's loss, the last one's too. [dim]Default: 1 each.[/]"
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A safetensors file of the net to begin with.")
    ] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Keep these weights: only the new exits learn.")
    ] = False,
    self_distillation: Annotated[
        bool, typer.Option("--self-distillation", help="The last exit teaches the others.")
    ] = False,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracy that early exits may cost, held out.")
    ] = 0.001,
    papers_thresholds: Annotated[
        bool, typer.Option("--papers-thresholds", help="With lenet: entropy below the papers' T.")
    ] = False,
    out: Out = Path("models"),
    runs: Annotated[Path, typer.Option(help="What is kept to resume from.")] = Path("runs/exits"),
    threads: Annotated[int, typer.Option(min=1, help="Threads of the training.")] = 2,
    seed: Seed = 1,
    epochs: Epochs = None,
) -> None:
    """Train a net that may answer early and write the route <data>-exits.

    Each exit is a stage: rows with a high enough score leave, the others go on
    with their features. Thresholds come from held-out pictures. Interrupted, it
    resumes with the same command.

    [bold]sparing train exits[/]  two exits on a net of 8 MMACs

    [bold]sparing train exits --data mnist --net lenet --papers-thresholds[/]  BranchyNet

    [bold]sparing train exits --weights cnn-36m.safetensors --net cnn-36m --frozen[/]
    exits on a trained net that stays as it is
    """
    from sparing.recipes import failing_with_message, import_recipe

    with failing_with_message():
        recipe = import_recipe("training.exits")
        written = recipe.train(
            data,
            out,
            runs / data,
            options=recipe.Options(
                net=net,
                after=tuple(after or ()),
                weights=tuple(exit_weight or ()),
                trained=weights,
                frozen=frozen,
                self_distillation=self_distillation,
                max_loss=max_loss,
                papers_thresholds=papers_thresholds,
            ),
            seed=seed,
            epochs=epochs,
            threads=threads,
        )
    print(written)
