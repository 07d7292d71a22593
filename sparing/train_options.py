"""Options that every `sparing train` has, and `sparing compare` beside them."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="The folder for the route directories.")]
Workers = Annotated[int, typer.Option(min=1, help="Nets trained at once, a core each.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The seed of everything random.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Epochs of every net, for a trial.")]
