"""What tests of trainings share: a console that prints nothing, and costs that never vary."""

import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training.export.cost import count_macs


def cost_of_macs(path: Path, batches: Sequence[int]) -> dict[int, float]:
    """Instead of a measured time."""
    return dict.fromkeys(batches, count_macs(path) / 1e4)


def quiet() -> Console:
    return Console(file=io.StringIO())
