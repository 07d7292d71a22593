"""Options that `sparing train` and `sparing compare` share."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="Write the route directories into this folder.")]
Workers = Annotated[int, typer.Option(min=1, help="Train this many nets at once, one core each.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all random numbers.")]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Train every net for this many epochs, as a trial.")
]
