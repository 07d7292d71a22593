"""Options of `sparing train acm`."""

from pathlib import Path
from typing import Annotated

import typer

from sparing.commands.training.options import Seed
from sparing.commands.training.vit import Data, TaughtBy, Threads


def train_acm(
    teacher: Annotated[
        Path,
        typer.Option(
            help="Convert the net in this file, which sparing train vit wrote, or in a directory "
            "that Hugging Face transformers or timm saved."
        ),
    ],
    data: Data = "fashion-mnist",
    taught_by: TaughtBy = None,
    beta: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Train for this budget only. [dim]Default: for every budget.[/]"
        ),
    ] = None,
    learners: Annotated[int, typer.Option(min=1, help="Learners in place of each layer.")] = 4,
    dense_attention: Annotated[
        bool, typer.Option("--dense-attention", help="Replace the MLPs only.")
    ] = False,
    shared_gate: Annotated[
        bool,
        typer.Option("--shared-gate", help="One choice for queries, keys and values."),
    ] = False,
    random_start: Annotated[
        bool,
        typer.Option(
            "--random-start", help="Start learners at random, not with the teacher's weights."
        ),
    ] = False,
    distil_epochs: Annotated[
        int, typer.Option(min=0, help="Epochs in which learners imitate the teacher's layers.")
    ] = 1,
    gate_epochs: Annotated[
        int, typer.Option(min=0, help="Epochs in which gates learn how many learners help.")
    ] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the whole net.")] = 4,
    runs: Annotated[
        Path, typer.Option(help="Folder for trained nets and checkpoints, to resume from.")
    ] = Path("runs/acm"),
    out: Annotated[
        Path | None,
        typer.Option(help="Write the route <data>-acm into this folder. [dim]Default: none.[/]"),
    ] = None,
    threads: Threads = 1,
    seed: Seed = 1,
) -> None:
    """Train a transformer that chooses the work for each token, within a budget.

    Each layer of the teacher becomes a few small learners and a gate. For each
    token the gate chooses how many of them run. The budget, 0 to 1, is the
    share of all learners' work. One net learns to keep every budget, unless
    --beta names its only one.

    Prints accuracy and MACs by budget, on held-out pictures. Writes weights,
    <runs>/<data>/acm.safetensors, and with --out a route, for which it measures
    both forms of execution.

    To resume after an interruption, run the same command again.

    [bold]sparing train acm --teacher runs/acm/fashion-mnist/vit.safetensors[/]
    """
    from sparing.recipes import failing_with_message, import_recipe

    with failing_with_message():
        recipe = import_recipe("training.acm")
        settings = recipe.AcmSettings(learners, not dense_attention, shared_gate)
        recipe.train(
            data,
            runs / data,
            teacher=teacher,
            taught_by=taught_by,
            beta=beta,
            settings=settings,
            start="random" if random_start else "teacher",
            epochs=recipe.Epochs(distil_epochs, gate_epochs, epochs),
            seed=seed,
            out=out,
            threads=threads,
        )
