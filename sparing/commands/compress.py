"""Options of `sparing compress`."""

from pathlib import Path
from typing import Annotated

import typer

from sparing.failure import Failure


def compress(
    target: Annotated[
        Path, typer.Argument(help="An ONNX file, or a route's version as models/pets/1.")
    ],
    data: Annotated[
        str, typer.Option(help="Rows to calibrate and judge on, in the forms of sparing import.")
    ],
    to: Annotated[str, typer.Option(help="The precision: int8.")] = "int8",
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write, or the folder of routes. [dim]Default: MODEL-int8.onnx beside "
            "the model; the route's own folder.[/]"
        ),
    ] = None,
) -> None:
    """Quantise a model or a route to int8, and say what that gains on this CPU.

    A route gets its next version, in which every stage that is hardly less
    accurate in int8 has a float and an int8 file; a server runs the faster one.
    Thresholds and temperatures stay.

    [bold]sparing compress models/pets/1 --data held_out/[/]

    [bold]sparing compress net.onnx --data rows.npz[/]  writes net-int8.onnx
    """
    from sparing.recipes import failing_on_own_models, import_importing

    if to != "int8":
        raise Failure(f"--to: given {to!r}, allowed is int8", exit_code=2)
    with failing_on_own_models():
        if (target / "route.toml").is_file():
            compressing = import_importing("importing.compressing.route")
            made = compressing.compress_route(target, data, out or target.resolve().parents[1])
            lines = [*made.describe(), made.directory]
        else:
            compressing = import_importing("importing.compressing.model")
            written = out or target.with_name(f"{target.stem}-int8.onnx")
            lines = [compressing.compress_model(target, data, written).describe(), written]
    for line in lines:
        print(line)
