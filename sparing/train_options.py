"""Options that every `sparing train` has, and `sparing compare` beside them."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="Where the route directories go.")]
Workers = Annotated[int, typer.Option(min=1, help="Nets trained at once, a core each.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides all that is random.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="For every net, to try the recipe out.")]
