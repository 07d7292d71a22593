"""All faults of a directory at once, found with the server's own loader."""

import re
import tomllib
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper
from typer.testing import CliRunner

from core.devices.onnx import OnnxDevice
from harness.tiny_routes import describe_file, write_manifest, write_route
from routes.checking import check_route
from sparing.cli import app
from tests.fakes.tiny_kinds import write_multi_label
from tests.fakes.tiny_vlm import write_vlm
from tests.fakes.two_files import write_two_files

DEVICE = OnnxDevice()
RUNNER = CliRunner()


def test_a_route_that_loads_has_no_faults(tmp_path: Path) -> None:
    checked = check_route(write_route(tmp_path), DEVICE)
    assert checked.faults == ()
    assert checked.manifest is not None


def test_every_damaged_file_is_named_at_once(tmp_path: Path) -> None:
    directory = write_route(tmp_path, stages=3)
    for name in ("stage0", "stage2"):
        (directory / f"{name}.onnx").write_bytes(b"damaged")
    checked = check_route(directory, DEVICE)
    assert checked.manifest is None
    for name in ("stage0", "stage2"):
        assert any(f"{name}.onnx: 7 bytes" in fault for fault in checked.faults)
    assert len(checked.faults) == 2


def test_every_model_that_the_runtime_cannot_open_is_named_at_once(tmp_path: Path) -> None:
    def spoil(table: dict[str, Any]) -> None:
        for name in ("stage0.onnx", "stage2.onnx"):
            path = tmp_path / "tiny" / "1" / name
            path.write_bytes(b"no model")
            table["files"][name] = describe_file(path)

    faults = check_route(write_route(tmp_path, stages=3, change=spoil), DEVICE).faults
    assert ["stage0" in faults[0], "stage2" in faults[1], len(faults)] == [True, True, 2]


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    def spoil(table: dict[str, Any]) -> None:
        table.update(colour="red", expected_macs=-1)
        table["stages"][1]["max_batch"] = 0

    checked = check_route(write_route(tmp_path, change=spoil), DEVICE)
    for words in ("colour", "expected_macs", "stages.1.max_batch"):
        assert any(words in fault for fault in checked.faults), words
    assert len(checked.faults) == 3


def _end_in_softmax(directory: Path, name: str) -> dict[str, Any]:
    model = onnx.load(directory / name)
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.append(helper.make_node("Softmax", ["raw"], ["logits"], axis=1))
    (directory / name).write_bytes(model.SerializeToString())
    return describe_file(directory / name)


def test_probabilities_that_pass_for_logits_are_refused_with_the_stage(tmp_path: Path) -> None:
    tables: list[dict[str, Any]] = []
    directory = write_route(tmp_path, change=tables.append)
    (table,) = tables
    table["files"]["stage1.onnx"] = _end_in_softmax(directory, "stage1.onnx")
    write_manifest(directory, table)
    (fault,) = check_route(directory, DEVICE).faults
    assert "stage stage1: its output logits holds probabilities" in fault
    assert "remove its Softmax" in fault


def test_a_route_of_several_labels_is_checked(tmp_path: Path) -> None:
    assert check_route(write_multi_label(tmp_path), DEVICE).faults == ()
    wrong = {"label_thresholds": [0.5, 2.0]}
    (fault,) = check_route(write_multi_label(tmp_path, route="odd", options=wrong), DEVICE).faults
    assert "options.label_thresholds.1" in fault


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"datatype": "FP32", "shape": [-1, 1, 28, 28]}, r"pictures are UINT8 \[-1, 28, 28\]"),
        ({"datatype": "UINT8", "shape": [-1, 32, 32]}, r"input image is UINT8 \[-1, 32, 32\]"),
        ({"name": "pixels"}, "picture.input: no input image"),
    ],
)
def test_a_picture_over_an_input_that_takes_none_is_refused_with_the_mend(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    directory = write_route(tmp_path, change=lambda table: table["inputs"][0].update(change))
    assert any(re.search(words, fault) for fault in check_route(directory, DEVICE).faults)


def test_the_commands_exit_with_1_where_a_server_would_refuse(tmp_path: Path) -> None:
    write_route(tmp_path, "good")
    bad = write_route(tmp_path, "bad", stages=1)  # a cascade of one net, whose outputs fit
    (bad / "stage0.onnx").write_bytes(b"damaged")
    done = RUNNER.invoke(app, ["check", str(tmp_path)])
    assert done.exit_code == 1
    assert "good/1: dual-cnn, loads" in done.stdout
    assert "stage0.onnx: 7 bytes" in done.stderr
    assert RUNNER.invoke(app, ["check", str(tmp_path / "good" / "1")]).exit_code == 0
    listed = RUNNER.invoke(app, ["routes", "--models", str(tmp_path)])
    assert listed.exit_code == 1
    assert "stage0.onnx: 7 bytes" in listed.stderr


@pytest.mark.parametrize("folder", ["", "empty"])
def test_a_folder_without_routes_is_a_fault(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    done = RUNNER.invoke(app, ["check", str(tmp_path)])
    assert done.exit_code == 1
    assert "holds no routes as <route>/<version>/" in " ".join(done.stderr.split())


def test_macs_that_the_model_does_not_execute_are_a_warning(tmp_path: Path) -> None:
    def lie(table: dict[str, Any]) -> None:
        table["stages"][0]["macs"] = 1

    directory = write_route(tmp_path, change=lie)
    done = RUNNER.invoke(app, ["check", str(directory)])
    assert done.exit_code == 0
    assert "stage stage0: route.toml says 1 MACs, its model executes 7.84 k" in done.stderr


def test_a_route_that_needs_torch_is_checked_on_a_device_of_its_own(tmp_path: Path) -> None:
    directory = write_vlm(tmp_path)
    for argument in (tmp_path, directory):
        done = RUNNER.invoke(app, ["check", str(argument)])
        assert (done.exit_code, "vlm, loads" in done.output) == (0, True), done.output


def test_the_file_that_does_not_run_here_is_checked_too(tmp_path: Path) -> None:
    directory = write_two_files(tmp_path)
    device = OnnxDevice(precision="float32")
    assert check_route(directory, device).faults == ()
    twin = directory / "stage1-int8.onnx"
    twin.write_bytes((directory / "stage0.onnx").read_bytes()[:-9])
    text = (directory / "route.toml").read_text()
    table = tomllib.loads(text)
    table["files"][twin.name] = describe_file(twin)
    write_manifest(directory, table)
    (fault,) = check_route(directory, device).faults
    assert "stage1-int8.onnx: ONNX Runtime cannot load it" in fault
