"""Options of `sparing inspect`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparing.failure import Failure


def inspect_model(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="The shape of one row of an input whose sizes are free, as in "
            "input_ids=128; may be repeated."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a trained model is, and what it needs to be served.

    Runs it on trial rows: whether a batch answers as its rows do alone, what
    its output seems to be, its MACs and parameters.

    [bold]sparing inspect resnet.onnx[/]

    [bold]sparing inspect bert.onnx --shape input_ids=128 --shape attention_mask=128[/]
    """
    from sparing.model_tables import show_inspection
    from sparing.recipes import failing_on_own_models, import_importing

    with failing_on_own_models():
        inspection = import_importing("importing.onnx_files.inspection")
        found = inspection.inspect_model(model, _read_shapes(shape or []))
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
        return
    show_inspection(found, Console())


def _read_shapes(given: list[str]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for one in given:
        name, _, sizes = one.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in sizes.replace("x", ",").split(","))
        except ValueError:
            shapes[name] = ()
        if not name or min(shapes[name], default=0) < 1:
            raise Failure(
                f"--shape: given {one!r}, allowed is NAME=SIZES, as in input_ids=128", exit_code=2
            )
    return shapes
