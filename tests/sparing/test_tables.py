"""Tables lose nothing where there is little room."""

from pathlib import Path

import pytest
from rich.console import Console

from core.manifest import read_manifest
from harness.tiny_routes import write_route
from sparing.predicting import Prediction
from sparing.tables import table_of_predictions, table_of_routes


def show(table: object, width: int) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_routes_name_is_whole_and_nothing_is_elided(tmp_path: Path, width: int) -> None:
    name = "fashion-mnist-large"
    shown = show(table_of_routes([read_manifest(write_route(tmp_path, name))]), width)
    assert name in shown
    assert "…" not in shown


def test_a_pictures_path_is_folded_and_not_elided() -> None:
    picture = Path("/pictures/" + "0123456789" * 9)
    one = Prediction(picture, "Ankle boot", 0.9, "cnn-1m", "threshold", 1_000_000, 1.0)
    shown = show(table_of_predictions([one]), 80)
    assert "…" not in shown
    column = "".join(line.split(" ")[1] for line in shown.splitlines()[1:])
    assert column == str(picture)
