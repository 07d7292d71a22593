"""`sparing inspect` says what a model is and what it needs."""

import json
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Tensor
from importing.onnx_files.inspection import find_layout, inspect_model
from sparing.cli import app
from tests.fakes.own_models import make_linear, make_picture_net, make_text, save

RUNNER = CliRunner()


def test_the_command_prints_the_facts_as_json(tmp_path: Path) -> None:
    path = save(make_picture_net(end="Softmax", width=4), tmp_path / "net.onnx")
    done = RUNNER.invoke(app, ["inspect", str(path), "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 16, 16]}]
    assert facts["outputs"][0]["seems"] == "softmax"
    assert facts["macs"] == 16 * 16 * (4 * 27 + 12) + 9
    assert facts["parameters"] == 4 * 27 + 12 + 12
    assert facts["batches"] is True
    assert any("--preprocess" in need for need in facts["needs"])


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    path = save(make_text(), tmp_path / "text.onnx")
    done = RUNNER.invoke(app, ["inspect", str(path), "--shape", "input_ids=20"])
    assert done.exit_code == 0, done.output
    assert "input_ids: 0 to 49" in done.stdout
    assert "seems logits" in done.stdout


def test_macs_are_refused_where_a_size_is_free_and_counted_once_it_is_given(
    tmp_path: Path,
) -> None:
    path = save(make_text(mask=True), tmp_path / "text.onnx")
    found = inspect_model(path)
    assert found.macs is None
    assert found.macs_reason == "sizes are free; give --shape input_ids=…"
    given = inspect_model(path, {"input_ids": (20,), "attention_mask": (20,)})
    assert given.macs == 12


def test_a_fixed_batch_and_another_output_are_among_the_needs(tmp_path: Path) -> None:
    found = inspect_model(save(make_linear(batch=1, classes=1), tmp_path / "a.onnx"))
    assert "its batch of 1 becomes free: import does it" in found.needs
    assert "its margin output becomes logits: import does it" in found.needs


def test_a_shape_of_no_input_is_refused_with_the_inputs_that_there_are(tmp_path: Path) -> None:
    path = save(make_linear(), tmp_path / "a.onnx")
    with pytest.raises(ImportFault, match=r"no such input; it has features FP32 \[-1, 8\]"):
        inspect_model(path, {"image": (3,)})


@pytest.mark.parametrize("given", ["features", "features=abc", "=3", "features=0"])
def test_a_wrong_option_is_wrong_usage(given: str, tmp_path: Path) -> None:
    path = save(make_linear(), tmp_path / "a.onnx")
    done = RUNNER.invoke(app, ["inspect", str(path), "--shape", given])
    assert "allowed is NAME=SIZES" in str(done.exception)


@pytest.mark.parametrize(
    ("datatype", "shape", "layout"),
    [
        ("FP32", (-1, 3, 32, 32), ("NCHW", 3, 32, 32)),
        ("FP32", (-1, 3, -1, -1), ("NCHW", 3, -1, -1)),
        ("FP32", (-1, 32, 32, 3), ("NHWC", 3, 32, 32)),
        ("UINT8", (-1, 28, 28), ("NHW", 1, 28, 28)),
        ("FP32", (-1, 1, 40, 49), ("NCHW", 1, 40, 49)),
        ("FP32", (-1, 28, 28), None),
        ("FP32", (-1, 64), None),
        ("INT64", (-1, 3, 32, 32), None),
        ("FP32", (-1, 3, 4, 4), None),
    ],
)
def test_a_picture_is_recognised_by_its_shape(
    datatype: str, shape: tuple[int, ...], layout: tuple[str, int, int, int] | None
) -> None:
    assert find_layout(Tensor("x", datatype, shape)) == layout


def test_a_model_is_left_as_it_is(tmp_path: Path) -> None:
    path = save(make_picture_net(batch=1), tmp_path / "a.onnx")
    before = path.read_bytes()
    inspect_model(path)
    assert path.read_bytes() == before
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
