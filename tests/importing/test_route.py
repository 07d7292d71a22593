"""An import from files to a route that the server's loader takes."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from core.classifiers.scores import softmax
from core.devices.onnx import OnnxDevice
from importing import route
from importing.onnx_files.graphs import Feed, open_graph
from importing.options import ImportOptions, Stage
from importing.quantising import SUFFIX
from importing.route import import_route
from importing.stage_files import StageFile
from importing.timing import Cost
from routes.loading import load_route
from routes.offline import run_offline
from sparing.cli import app
from tests.fakes.own_models import (
    MEAN,
    STD,
    STEPS,
    Rows,
    import_own,
    make_linear,
    make_model,
    make_picture_net,
    make_pictures,
    make_text,
    make_transformer,
    save,
)

RUNNER = CliRunner()
ROWS = 400


@pytest.fixture(scope="module")
def pictures() -> Rows:
    return make_pictures(ROWS)


@pytest.fixture
def nets(tmp_path: Path) -> list[Stage]:
    """A fast net that is often wrong, with a softmax, and a slow one that is right."""
    small = make_picture_net(name="pixels", output="probs", end="Softmax", noise=0.6, seed=3)
    large = make_picture_net(name="x", width=48)
    return [
        Stage(save(small, tmp_path / "small.onnx")),
        Stage(save(large, tmp_path / "large.onnx")),
    ]


def _make_rows(labels: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]) -> Rows:
    rows = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
    return rows, labels(rows)


def _answer(model: onnx.ModelProto) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """Labels as a linear model would give them."""
    weight, bias = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer[:2])
    return lambda rows: (rows @ weight + bias).argmax(axis=1)


def test_two_nets_become_a_cascade_that_the_servers_loader_takes(
    tmp_path: Path, nets: list[Stage], pictures: Rows
) -> None:
    imported = import_own(tmp_path, nets, pictures, max_loss=0.1)
    assert imported.directory == tmp_path / "models" / "own" / "1"
    assert imported.verdict is not None
    chosen = imported.verdict.chosen
    assert chosen.members == ("small", "large")
    assert chosen.us_per_row < imported.verdict.rows[1].us_per_row
    device = OnnxDevice()
    loaded = load_route(imported.directory, device)
    rows = run_offline(loaded.pipeline, {"image": pictures[0]}, device)
    assert {row.stages for row in rows} == {("small",), ("small", "large")}
    labels = [int(row.outcome.outputs["label"]) for row in rows if row.outcome]
    assert np.mean(np.array(labels) == pictures[1]) > 0.8
    assert "data_test" in loaded.manifest.provenance


def test_served_logits_are_those_of_the_models_on_normalised_pictures(
    tmp_path: Path, nets: list[Stage], pictures: Rows
) -> None:
    imported = import_own(tmp_path, nets[:1], pictures)
    assert imported.directory is not None
    device = OnnxDevice()
    loaded = load_route(imported.directory, device)
    assert loaded.manifest.pipeline == "single"
    source = onnx.load(nets[0].model)
    weight, bias = (numpy_helper.to_array(tensor) for tensor in source.graph.initializer)
    means = ((pictures[0][:20] / 255 - MEAN) / STD).mean(axis=(1, 2))
    temperature = loaded.manifest.stages[0].temperature
    expected = softmax((means @ weight + bias).astype(np.float32), temperature)
    rows = run_offline(loaded.pipeline, {"image": pictures[0][:20]}, device)
    found = [row.outcome.outputs["probabilities"] for row in rows if row.outcome]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_preprocessing_is_found_where_it_makes_a_difference(
    tmp_path: Path, pictures: Rows
) -> None:
    cut = make_picture_net()
    cut.graph.initializer[0].CopyFrom(
        numpy_helper.from_array((np.diag((0.229, 0.224, 0.225)) * 40).astype(np.float32), "w")
    )
    cut.graph.initializer[1].CopyFrom(
        numpy_helper.from_array((np.array((0.485, 0.456, 0.406)) * 40).astype(np.float32), "b")
    )
    stage = Stage(save(cut, tmp_path / "net.onnx"))
    imported = import_own(tmp_path, [stage], pictures, preprocess="auto")
    assert any("mean=0.485:0.456:0.406" in note and "RGB" in note for note in imported.notes)


def test_a_version_follows_the_last_and_a_dry_run_writes_nothing(
    tmp_path: Path, nets: list[Stage], pictures: Rows
) -> None:
    for version in ("1", "2"):
        imported = import_own(tmp_path, nets[:1], pictures)
        assert imported.directory is not None
        assert imported.directory.name == version
    assert import_own(tmp_path / "dry", nets[:1], pictures, dry_run=True).directory is None
    assert not (tmp_path / "dry" / "models").exists()


def test_int8_files_are_candidates_and_rows_of_the_verdict(
    tmp_path: Path, nets: list[Stage], pictures: Rows
) -> None:
    imported = import_own(tmp_path, nets[1:], pictures, compress="auto")
    assert imported.verdict is not None
    precisions = {row.name: row.precision for row in imported.verdict.rows}
    assert precisions == {"large": "float32", "large-int8": "int8"}
    by_name = {row.name: row for row in imported.verdict.rows}
    assert by_name["large-int8"].size_bytes < by_name["large"].size_bytes
    assert by_name["large-int8"].difference > -0.05


def _measure(stages: Mapping[str, StageFile], rows: Feed, **options: Any) -> dict[str, Cost]:
    """A CPU on which int8 is twice as slow."""
    return {name: Cost(100.0 * (1 + name.endswith(SUFFIX))) for name in stages}


def test_int8_files_are_served_where_they_are_asked_for_even_if_they_are_slow(
    tmp_path: Path, nets: list[Stage], pictures: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "measure_costs", _measure)
    imported = import_own(tmp_path, nets[1:], pictures, compress="int8", max_loss=0.05)
    assert imported.directory is not None
    stages = load_route(imported.directory, OnnxDevice()).manifest.stages
    assert [stage.name for stage in stages] == ["large-int8"]
    kinds = {node.op_type for node in onnx.load(imported.directory / stages[0].file).graph.node}
    assert "QuantizeLinear" in kinds


def test_a_model_with_its_own_outputs_is_served_in_int8_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    rows, labels = _make_rows(lambda rows: rows.sum(axis=1))
    stage = Stage(save(make_linear(classes=1, output="value"), tmp_path / "net.onnx"))
    imported = import_own(tmp_path, [stage], (rows, labels), compress="int8")
    assert imported.directory is not None
    (spec,) = load_route(imported.directory, OnnxDevice()).manifest.stages
    assert spec.name == "net-int8"
    assert imported.sentence.startswith("Serve net-int8 alone")


def test_an_int8_model_counts_as_one(tmp_path: Path) -> None:
    data = _make_rows(_answer(make_linear()))
    stage = Stage(save(make_linear(), tmp_path / "a.onnx"))
    first = import_own(tmp_path, [stage], data, compress="int8", max_loss=0.05)
    assert first.directory is not None
    made = Stage(first.directory / "a-int8.onnx", name="made")
    imported = import_own(tmp_path, [made], data, compress="int8")
    assert imported.verdict is not None
    assert [row.precision for row in imported.verdict.rows] == ["int8"]


def test_the_command_imports_files_and_prints_json(
    tmp_path: Path, nets: list[Stage], pictures: Rows
) -> None:
    np.savez(tmp_path / "d.npz", x=pictures[0], y=pictures[1])
    arguments = ["import", "own", "--stage", f"{nets[0].model}", "--data", str(tmp_path / "d.npz")]
    arguments += ["--out", str(tmp_path / "models"), "--compress", "none", "--json"]
    arguments += ["--preprocess", STEPS, "--labels", "red,green,blue"]
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["directory"] == str(tmp_path / "models" / "own" / "1")
    assert facts["verdict"]["rows"][0]["chosen"] is True
    manifest = load_route(Path(facts["directory"]), OnnxDevice()).manifest
    assert manifest.labels == ("red", "green", "blue")


def test_minutes_that_have_passed_are_named_and_a_page_is_written(
    tmp_path: Path, nets: list[Stage], pictures: Rows
) -> None:
    np.savez(tmp_path / "d.npz", x=pictures[0], y=pictures[1])
    arguments = ["import", "own", "--data", str(tmp_path / "d.npz"), "--compress", "none"]
    arguments += ["--stage", str(nets[0].model), "--preprocess", STEPS, "--dry-run"]
    page = tmp_path / "verdict.html"
    done = RUNNER.invoke(app, [*arguments, "--minutes", "0.0001", "--html", str(page)])
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "--minutes 0.0001 have passed: times are of 1 of 5 rounds" in words
    assert "Import of own" in page.read_text()


def test_the_command_shows_the_verdict_as_a_table(
    tmp_path: Path, nets: list[Stage], pictures: Rows
) -> None:
    np.savez(tmp_path / "d.npz", x=pictures[0], y=pictures[1])
    arguments = ["import", "own", "--data", str(tmp_path / "d.npz"), "--compress", "none"]
    arguments += [part for net in nets for part in ("--stage", str(net.model))]
    done = RUNNER.invoke(app, [*arguments, "--preprocess", STEPS, "--dry-run"])
    assert done.exit_code == 0, done.output
    lines = {line.strip("* ").split(" ")[0]: line for line in done.output.splitlines()}
    assert lines["large"].rstrip().endswith("reference")
    assert re.search(r"[+-]\d+\.\d \([+-]\d+\.\d to [+-]\d+\.\d\)", lines["small"])
    assert "Serve" in done.output


BINARY = make_linear(classes=1)
TIDY = make_linear(classes=1, output="value:0")


def _is_positive(model: onnx.ModelProto) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """Classes as a linear model with one logit gives them."""
    weight, bias = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer[:2])
    return lambda rows: ((rows @ weight + bias)[:, 0] > 0).astype(np.int64)


def _find_labels(model: onnx.ModelProto) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """Labels as a linear model gives them, several at once."""
    weight, bias = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer[:2])
    return lambda rows: (rows @ weight + bias > 0).astype(np.int64)


def _sklearn() -> onnx.ModelProto:
    model = make_linear(end="Softmax", output="probabilities")
    model.graph.node.append(
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0)
    )
    model.graph.output.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
    return model


def _boxes() -> onnx.ModelProto:
    return make_model(
        [helper.make_node("Reshape", ["features", "shape"], ["boxes"])],
        [("features", TensorProto.FLOAT, ["N", 8])],
        [("boxes", TensorProto.FLOAT, ["N", 2, 4])],
        {"shape": np.array([-1, 2, 4], np.int64)},
    )


KINDS: dict[str, tuple[onnx.ModelProto, Rows, str, list[str]]] = {
    "features": (make_linear(), _make_rows(_answer(make_linear())), "single", []),
    "softmax": (make_linear(end="Softmax"), _make_rows(_answer(make_linear())), "single", []),
    "log-softmax": (
        make_linear(end="LogSoftmax"),
        _make_rows(_answer(make_linear())),
        "single",
        [],
    ),
    "fixed batch": (make_linear(batch=1), _make_rows(_answer(make_linear())), "single", []),
    "one logit": (BINARY, _make_rows(_is_positive(BINARY)), "single", []),
    "sklearn": (_sklearn(), _make_rows(_answer(make_linear())), "single", []),
    "regression": (
        TIDY,
        _make_rows(lambda rows: rows.sum(axis=1)),
        "model",
        ["value_0"],
    ),
    "embedding": (
        make_linear(classes=5, output="embedding"),
        _make_rows(lambda rows: rows[:, :2]),
        "model",
        ["embedding"],
    ),
    "several labels": (
        make_linear(end="Sigmoid"),
        _make_rows(_find_labels(make_linear())),
        "multi-label",
        ["labels", "probabilities"],
    ),
    "a table that is no answer": (
        make_linear(end="Softmax"),
        _make_rows(lambda rows: (rows[:, :3] > 0).astype(np.int64)),
        "model",
        ["logits"],
    ),
    "detection": (_boxes(), _make_rows(lambda rows: rows[:, :4]), "model", ["boxes"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_model_becomes_a_route_that_answers(kind: str, tmp_path: Path) -> None:
    model, data, pipeline, outputs = KINDS[kind]
    stage = Stage(save(model, tmp_path / "net.onnx"))
    imported = import_own(tmp_path, [stage], data, preprocess="auto")
    assert imported.directory is not None
    device = OnnxDevice()
    loaded = load_route(imported.directory, device)
    assert loaded.manifest.pipeline == pipeline
    names = [spec.name for spec in loaded.manifest.outputs]
    assert names == (outputs or ["label", "probabilities"])
    assert loaded.manifest.stages[0].macs == 0 or loaded.manifest.expected_macs > 0
    name = loaded.manifest.inputs[0].name
    rows = run_offline(loaded.pipeline, {name: data[0]}, device)
    assert all(row.outcome is not None for row in rows)
    if pipeline == "single":
        found = [int(row.outcome.outputs["label"]) for row in rows if row.outcome]
        assert np.mean(np.array(found) == data[1]) > 0.99
    if pipeline == "multi-label":
        sets = np.array([row.outcome.outputs["labels"] for row in rows if row.outcome])
        np.testing.assert_array_equal(sets, data[1])


@pytest.mark.parametrize(("heads", "batches"), [("split", True), ("folded", True), ("lost", False)])
def test_a_transformer_with_its_batch_in_all_shapes_is_served(
    heads: str, batches: bool, tmp_path: Path
) -> None:
    model = make_transformer(heads)
    rows = np.random.default_rng(0).normal(size=(ROWS, 3, 8, 8)).astype(np.float32)
    alone = open_graph(model)
    labels = np.array([alone.run({"x": row[None]})[0].argmax() for row in rows])
    stage = Stage(save(model, tmp_path / "vit.onnx"))
    imported = import_own(tmp_path, [stage], (rows, labels), preprocess="none")
    assert imported.directory is not None
    device = OnnxDevice()
    loaded = load_route(imported.directory, device)
    assert (loaded.manifest.stages[0].max_batch > 1) == batches
    found = run_offline(loaded.pipeline, {"x": rows[:20]}, device)
    assert [int(row.outcome.outputs["label"]) for row in found if row.outcome] == list(labels[:20])


def test_floats_instead_of_classes_are_named_where_accuracy_is_not_measured(
    tmp_path: Path,
) -> None:
    rows, labels = _make_rows(_answer(make_linear()))
    stage = Stage(save(make_linear(), tmp_path / "net.onnx"))
    imported = import_own(
        tmp_path, [stage], (rows, labels.astype(float)), preprocess="auto", dry_run=True
    )
    assert imported.sentence.endswith(
        "Its accuracy was not measured: labels are float64; if they are classes, save them as "
        "int64."
    )


@pytest.mark.parametrize("mask", [False, True])
def test_token_ids_with_and_without_a_mask_become_a_route(mask: bool, tmp_path: Path) -> None:
    model = make_text(mask=mask)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50, (ROWS, 6))
    table, weight = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer[:2])
    labels = (table[ids].sum(axis=1) @ weight).argmax(axis=1)
    arrays = {"input_ids": ids, "y": labels}
    if mask:
        arrays["attention_mask"] = np.ones_like(ids)
    np.savez(tmp_path / "d.npz", **arrays)
    stage = Stage(save(model, tmp_path / "text.onnx"))
    options = ImportOptions(out=tmp_path / "models", compress="none")
    imported = import_route("text", [stage], str(tmp_path / "d.npz"), options)
    assert imported.directory is not None
    device = OnnxDevice()
    loaded = load_route(imported.directory, device)
    inputs = dict.fromkeys(("input_ids", "attention_mask")[: 1 + mask], ids)
    inputs |= {"attention_mask": np.ones_like(ids)} if mask else {}
    rows = run_offline(loaded.pipeline, inputs, device)
    found = [int(row.outcome.outputs["label"]) for row in rows if row.outcome]
    assert found == labels.tolist()


def test_float_tensors_that_are_no_pictures_stay_as_they_are(
    tmp_path: Path, pictures: Rows
) -> None:
    """Two nets on normalised tensors, as spectrograms are, with log-softmax outputs."""
    slow = make_picture_net(name="spectrum", end="LogSoftmax", width=16)
    rows = ((pictures[0] / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    stages = [
        Stage(save(make_picture_net(end="LogSoftmax", noise=0.6, seed=3), tmp_path / "a.onnx")),
        Stage(save(slow, tmp_path / "b.onnx")),
    ]
    imported = import_own(tmp_path, stages, (rows, pictures[1]), preprocess="auto", max_loss=0.1)
    assert imported.directory is not None
    manifest = load_route(imported.directory, OnnxDevice()).manifest
    assert manifest.picture is None
    assert [spec.datatype for spec in manifest.inputs] == ["FP32"]
