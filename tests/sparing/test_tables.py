"""Tables lose nothing where there is little room."""

from pathlib import Path

import pytest
from rich.console import Console

from core.devices.onnx import OnnxDevice
from core.manifest import read_manifest
from harness.tiny_routes import write_route
from routes.loading import load_route
from serving.oip.descriptions import describe_route
from sparing.predicting import Prediction
from sparing.tables import table_of_predictions, table_of_routes, table_of_served
from tests.fakes.two_files import write_two_files


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


def test_a_stage_with_two_files_says_which_runs(tmp_path: Path) -> None:
    manifest = load_route(write_two_files(tmp_path), OnnxDevice(precision="int8")).manifest
    served = {**manifest.model_dump(), "stages": describe_route(manifest, "ab", {})["stages"]}
    for table in (table_of_routes([manifest]), table_of_served([served])):
        assert "stops at 0.500, int8" in show(table, 200)


def test_a_pictures_path_is_folded_and_not_elided() -> None:
    picture = Path("/pictures/" + "0123456789" * 9)
    one = Prediction(picture, "Ankle boot", 0.9, "cnn-1m", "threshold", 1_000_000, 1.0)
    shown = show(table_of_predictions([one]), 80)
    assert "…" not in shown
    column = "".join(line.split(" ")[1] for line in shown.splitlines()[1:])
    assert column == str(picture)
