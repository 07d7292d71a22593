"""Options of `sparing train exits`."""

from pathlib import Path
from typing import Annotated

import typer

from sparing.commands.training.options import Epochs, Out, Seed


def train_exits(
    data: Annotated[
        str, typer.Option(help="The data set: fashion-mnist, mnist or cifar10.")
    ] = "fashion-mnist",
    net: Annotated[
        str,
        typer.Option(
            help="Put exits on lenet (the papers' net) or on a net of the data set's pool."
        ),
    ] = "cnn-8m",
    after: Annotated[
        list[int] | None,
        typer.Option(
            help="Put an exit after this layer; repeat it for more exits. "
            "[dim]Default: depends on the net.[/]"
        ),
    ] = None,
    exit_weight: Annotated[
        list[float] | None,
        typer.Option(
            help="Weight of one exit's loss; repeat it for every exit, including the last. "
            "[dim]Default: 1 each.[/]"
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Start from the net in this safetensors file.")
    ] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Do not change those weights: train only the exits.")
    ] = False,
    self_distillation: Annotated[
        bool, typer.Option("--self-distillation", help="Teach early exits the last one's answers.")
    ] = False,
    max_loss: Annotated[
        float,
        typer.Option(min=0, max=1, help="Held-out accuracy that early exits may lose, 0 to 1."),
    ] = 0.001,
    papers_thresholds: Annotated[
        bool,
        typer.Option("--papers-thresholds", help="With lenet: the papers' entropy thresholds T."),
    ] = False,
    out: Out = Path("models"),
    runs: Annotated[
        Path, typer.Option(help="Folder for trained nets and checkpoints, to resume from.")
    ] = Path("runs/exits"),
    threads: Annotated[int, typer.Option(min=1, help="Train with this many threads.")] = 2,
    seed: Seed = 1,
    epochs: Epochs = None,
) -> None:
    """Train a net with early exits and write the route <data>-exits.

    Each exit is a stage. A row whose score reaches the exit's threshold is
    answered there; the others continue with their features. Held-out pictures
    set the thresholds.

    To resume after an interruption, run the same command again.

    [bold]sparing train exits[/]  two exits on a net of 8 MMACs

    [bold]sparing train exits --data mnist --net lenet --papers-thresholds[/]  BranchyNet

    [bold]sparing train exits --weights cnn-36m.safetensors --net cnn-36m --frozen[/]
    add exits to a trained net and leave its weights unchanged
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
