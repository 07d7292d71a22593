"""`sparing compress` on a model and on a route."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from core.devices.onnx import OnnxDevice
from core.manifest import read_manifest
from harness.tiny_routes import make_pictures as make_noise
from importing import samples
from importing.compressing import comparing
from importing.compressing import route as compressing_route
from importing.compressing.model import compress_model, quantise_file
from importing.compressing.recording import record_rows
from importing.compressing.route import compress_route
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Feed, open_bytes
from importing.options import Stage
from importing.quantising import SUFFIX, quantise_stage
from importing.stage_files import StageFile
from routes.loading import load_route
from routes.offline import run_offline
from sparing.cli import app
from tests.fakes.own_models import (
    Rows,
    import_own,
    make_label_net,
    make_label_pictures,
    make_linear,
    make_picture_net,
    make_pictures,
    make_text,
    save,
)
from tests.fakes.tiny_kinds import write_exits

ROWS = 200


@pytest.fixture
def data(tmp_path: Path) -> str:
    pictures, labels = make_pictures(ROWS)
    rows = (pictures.transpose(0, 3, 1, 2) / 255).astype(np.float32)
    np.savez(tmp_path / "floats.npz", x=rows, y=labels)
    return str(tmp_path / "floats.npz")


def _measure(stages: Mapping[str, StageFile], rows: Feed) -> dict[str, float]:
    """A CPU on which int8 is twice as fast."""
    return {name: 50.0 if name.endswith(SUFFIX) else 100.0 for name in stages}


def test_a_models_twin_is_smaller_and_answers_alike(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "measure_in_turns", _measure)
    path = save(make_picture_net(width=64), tmp_path / "net.onnx")
    found = compress_model(path, data, tmp_path / "net-int8.onnx")
    assert found.agreement > 0.95
    assert "2.0 times as fast (100 → 50 µs a row)" in found.describe()
    kinds = {node.op_type for node in onnx.load(tmp_path / "net-int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_weights_have_seven_bits_so_that_sums_of_two_products_fit_16_bits(
    tmp_path: Path, data: str
) -> None:
    path = save(make_picture_net(width=8), tmp_path / "net.onnx")
    compress_model(path, data, tmp_path / "int8.onnx")
    model = onnx.load(tmp_path / "int8.onnx")
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
    ]
    assert weights
    assert max(int(np.abs(one.astype(int)).max()) for one in weights) <= 64


def _import_net(tmp_path: Path) -> tuple[Path, Rows]:
    """The directory of a route made of one net, and its rows, which are in d.npz too."""
    rows = make_pictures(ROWS)
    np.savez(tmp_path / "d.npz", x=rows[0], y=rows[1])
    net = save(make_picture_net(width=64), tmp_path / "net.onnx")
    imported = import_own(tmp_path, [Stage(net)], rows)
    assert imported.directory is not None
    return imported.directory, rows


def test_a_route_becomes_its_next_version_with_two_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "measure_in_turns", _measure)
    route, (pictures, labels) = _import_net(tmp_path)
    made = compress_route(route, str(tmp_path / "d.npz"), tmp_path / "models")
    assert made.directory == tmp_path / "models" / "own" / "2"
    assert [one.name for one in made.stages] == ["net"]
    assert "The route: " in made.describe()[-1]
    assert [path.name for path in sorted(made.directory.glob("*.onnx"))] == [
        "net-int8.onnx",
        "net.onnx",
    ]
    device = OnnxDevice(precision="int8")
    loaded = load_route(made.directory, device)
    assert loaded.manifest.stages[0].file == "net-int8.onnx"
    assert loaded.manifest.certificate == "none"
    before = read_manifest(route).provenance
    assert {**before, "int8_stages": ["net"], "int8_from_version": "1"} == {
        **loaded.manifest.provenance
    }
    rows = run_offline(loaded.pipeline, {"image": pictures[:50]}, device)
    answers = [int(row.outcome.outputs["label"]) for row in rows if row.outcome]
    assert np.mean(np.array(answers) == labels[:50]) > 0.8


def test_a_route_of_several_labels_loses_what_its_labels_lose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "measure_in_turns", _measure)
    rows = make_label_pictures(ROWS)
    np.savez(tmp_path / "d.npz", x=rows[0], y=rows[1])
    net = save(make_label_net(width=96), tmp_path / "net.onnx")
    imported = import_own(tmp_path, [Stage(net)], rows)
    assert imported.directory is not None
    made = compress_route(imported.directory, str(tmp_path / "d.npz"), tmp_path / "models")
    (found,) = made.stages
    assert load_route(made.directory, OnnxDevice()).manifest.pipeline == "multi-label"
    assert found.agreement > 0.95
    assert -0.02 <= found.loss <= 0.02
    monkeypatch.setattr(comparing, "quantise_stage", _negate)
    with pytest.raises(ImportFault, match=r"in int8 net loses \d+\.\d points"):
        compress_route(imported.directory, str(tmp_path / "d.npz"), tmp_path / "models")


def test_a_new_twin_replaces_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "measure_in_turns", _measure)
    route, _ = _import_net(tmp_path)
    first = compress_route(route, str(tmp_path / "d.npz"), tmp_path / "models")
    again = compress_route(first.directory, str(tmp_path / "d.npz"), tmp_path / "models")
    names = [sorted(path.name for path in one.directory.iterdir()) for one in (first, again)]
    assert names[0] == names[1]


def test_stages_that_get_what_others_make_have_twins_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "measure_in_turns", _measure)
    for module in (comparing, compressing_route):
        monkeypatch.setattr(module, "MAX_DROP_AT_ALL", 1.0)
    route = write_exits(tmp_path / "models")
    pictures = make_noise(ROWS)
    np.savez(tmp_path / "d.npz", x=pictures, y=np.arange(ROWS) % 10)
    got = record_rows(route, {"image": pictures[:7]})
    assert {name: [len(rows) for rows in feed.values()] for name, feed in got.items()} == {
        f"stage{index}.onnx": [7] for index in range(3)
    }
    made = compress_route(route, str(tmp_path / "d.npz"), tmp_path / "models")
    assert [one.name for one in made.stages] == ["stage0", "stage1", "stage2"]


def test_a_stage_that_is_not_faster_here_has_a_twin_for_other_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "measure_in_turns", _measure_alike)
    route, _ = _import_net(tmp_path)
    made = compress_route(route, str(tmp_path / "d.npz"), tmp_path / "models")
    assert "net: not faster on this CPU" in made.describe()[0]
    assert (made.directory / "net-int8.onnx").exists()


def test_a_file_becomes_the_same_twin_every_time(tmp_path: Path) -> None:
    path = save(make_picture_net(width=8), tmp_path / "net.onnx")
    pictures, _ = make_pictures(ROWS)
    rows = {"input": (pictures.transpose(0, 3, 1, 2) / 255).astype(np.float32)}
    rows = {open_bytes(path.read_bytes()).inputs[0].name: rows["input"]}
    assert quantise_file(path, rows) == quantise_file(path, rows)


def _negate(stage: StageFile, rows: Feed, *, kept: Sequence[str]) -> StageFile:
    """A twin that answers worst where the stage answers best."""
    del kept
    twin = quantise_stage(stage, rows)
    model = onnx.ModelProto.FromString(twin.raw)
    for node in model.graph.node:
        node.output[:] = ["negated" if name == "logits" else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Neg", ["negated"], ["logits"]))
    return replace(twin, raw=model.SerializeToString())


def _measure_alike(stages: Mapping[str, StageFile], rows: Feed) -> dict[str, float]:
    """A CPU on which int8 gains less than its clock's noise."""
    return {name: 97.0 if name.endswith(SUFFIX) else 100.0 for name in stages}


def test_a_stage_that_loses_accuracy_has_no_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "measure_in_turns", _measure)
    monkeypatch.setattr(comparing, "quantise_stage", _negate)
    route, _ = _import_net(tmp_path)
    words = r"in int8 net loses \d+.\d points, at most 2.0 are allowed"
    with pytest.raises(ImportFault, match=words):
        compress_route(route, str(tmp_path / "d.npz"), tmp_path / "models")
    assert not (tmp_path / "models" / "own" / "2").exists()


def test_a_route_that_loses_accuracy_as_a_whole_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "measure_in_turns", _measure)
    monkeypatch.setattr(comparing, "quantise_stage", _negate)
    monkeypatch.setattr(comparing, "MAX_DROP_AT_ALL", 1.0)
    route, _ = _import_net(tmp_path)
    with pytest.raises(ImportFault, match=r"the whole route loses \d+.\d points in int8"):
        compress_route(route, str(tmp_path / "d.npz"), tmp_path / "models")
    assert not (tmp_path / "models" / "own" / "2").exists()


def test_a_model_without_products_is_refused(tmp_path: Path) -> None:
    model = make_linear()
    model.graph.node[0].op_type = "Identity"
    del model.graph.node[0].input[1:]
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 8
    rows = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=rows, y=np.arange(ROWS) % 3)
    with pytest.raises(ImportFault, match="no operator that int8 makes faster"):
        compress_model(
            save(model, tmp_path / "a.onnx"), str(tmp_path / "d.npz"), tmp_path / "b.onnx"
        )
    assert not (tmp_path / "b.onnx").exists()


def test_the_command_writes_beside_the_model_and_refuses_to_overwrite(
    tmp_path: Path, data: str
) -> None:
    path = save(make_picture_net(), tmp_path / "net.onnx")
    runner = CliRunner()
    done = runner.invoke(app, ["compress", str(path), "--data", data])
    assert done.exit_code == 0, done.output
    assert open_bytes((tmp_path / "net-int8.onnx").read_bytes()).outputs
    again = runner.invoke(app, ["compress", str(path), "--data", data])
    assert "exists already" in str(again.exception)
    other = runner.invoke(app, ["compress", str(path), "--data", data, "--to", "int4"])
    assert "allowed is int8" in str(other.exception)


def test_rows_that_do_not_fit_into_memory_are_left_out_and_named(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "MAX_BYTES", 120 * 3 * 16 * 16 * 4)
    path = save(make_picture_net(width=8), tmp_path / "net.onnx")
    said: list[str] = []
    compress_model(path, data, tmp_path / "int8.onnx", said.append)
    assert len(said) == 1
    assert "of 200 rows were taken" in said[0]


def test_text_is_calibrated_on_its_own_ids(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 50, (ROWS, 6))
    np.savez(tmp_path / "d.npz", input_ids=ids, y=np.arange(ROWS) % 3)
    path = save(make_text(), tmp_path / "text.onnx")
    found = compress_model(path, str(tmp_path / "d.npz"), tmp_path / "b.onnx")
    assert found.agreement > 0.9
