"""Loading: whole directories load, damaged ones are named, a broken graph is found at loading."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from core.devices.interface import Device
from core.devices.onnx import OnnxDevice
from core.devices.torch import TorchDevice
from core.errors import ModelDirectoryError
from core.messages import Array
from harness.tiny_routes import describe_file, write_route
from routes import loading
from routes.loading import find_routes, load_route
from tests.fakes import generator

DEVICE = OnnxDevice()


def _change_net(path: Path, change: Callable[[onnx.ModelProto], None]) -> dict[str, Any]:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return describe_file(path)


def test_a_whole_directory_loads(tmp_path: Path) -> None:
    loaded = load_route(write_route(tmp_path, stages=3), DEVICE)
    assert loaded.manifest.route == "tiny"
    assert list(loaded.pipeline.stages) == ["stage0", "stage1", "stage2"]
    assert loaded.pipeline.digest == loaded.manifest.digest


def test_routes_are_found_two_levels_down_damaged_ones_too_hidden_ones_not(tmp_path: Path) -> None:
    for route, version in (("b", "1"), ("a", "2"), ("a", "1"), (".staging", "1"), ("a", ".tmp")):
        (tmp_path / route / version).mkdir(parents=True)
    (tmp_path / "README.md").write_text("models")
    (tmp_path / "a" / "notes.txt").write_text("notes")
    found = [str(path.relative_to(tmp_path)) for path in find_routes(tmp_path)]
    assert found == ["a/1", "a/2", "b/1"]


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match="nowhere"):
        find_routes(tmp_path / "nowhere")


def test_an_unknown_kind_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    directory = write_route(tmp_path, pipeline="oracle")
    with pytest.raises(ModelDirectoryError, match=r"'oracle' given, dual-cnn.* are allowed"):
        load_route(directory, DEVICE)


@pytest.mark.parametrize("place", ["other/1", "tiny/2"])
def test_a_directory_under_another_name_is_refused(tmp_path: Path, place: str) -> None:
    source = write_route(tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    source.rename(tmp_path / place)
    with pytest.raises(ModelDirectoryError, match="route tiny, version 1"):
        load_route(tmp_path / place, DEVICE)


def test_an_empty_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "tiny" / "1").mkdir(parents=True)
    with pytest.raises(ModelDirectoryError, match="tiny/1"):
        load_route(tmp_path / "tiny" / "1", DEVICE)


@pytest.mark.parametrize("stage", ["stage0", "stage1"])
def test_a_net_that_answers_nan_is_refused_whichever_stage_it_is(
    tmp_path: Path, stage: str
) -> None:
    path = tmp_path / "tiny" / "1" / f"{stage}.onnx"

    def poison(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "bias":
                tensor.CopyFrom(
                    numpy_helper.from_array(np.full(10, np.nan, dtype=np.float32), "bias")
                )

    def change(table: dict[str, Any]) -> None:
        table["files"][path.name] = _change_net(path, poison)

    directory = write_route(tmp_path, thresholds=[0.0], change=change)
    with pytest.raises(ModelDirectoryError, match=f"{stage} returns no answer"):
        load_route(directory, DEVICE)


def test_a_net_that_fails_when_it_runs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny" / "1" / "stage1.onnx"

    def point_outside(model: onnx.ModelProto) -> None:
        """Every shape is as declared, but rows of the picture are taken that it does not have."""
        rows = np.full(28, 999, dtype=np.int64)
        model.graph.initializer.append(numpy_helper.from_array(rows, "rows"))
        gather = onnx.helper.make_node("Gather", ["image", "rows"], ["picked"], axis=1)
        model.graph.node[0].input[0] = "picked"
        model.graph.node.insert(0, gather)

    def change(table: dict[str, Any]) -> None:
        table["files"][path.name] = _change_net(path, point_outside)

    directory = write_route(tmp_path, thresholds=[0.0], change=change)
    with pytest.raises(ModelDirectoryError, match="tiny/1: the trial run failed"):
        load_route(directory, DEVICE)


def test_a_pipeline_that_keeps_more_state_than_it_declares_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sparse(generator.Generator):
        def state_bytes(self, inputs: Mapping[str, Array], _: Mapping[str, Any], /) -> Any:
            return np.full(len(inputs["image"]), 8)

    def build(directory: Path, device: Device) -> Sparse:
        honest = generator.build(directory, device)
        return Sparse(honest.digest, honest.first, honest.stages)

    monkeypatch.setattr(loading, "PIPELINES", {generator.KIND: build})
    with pytest.raises(ModelDirectoryError, match=r"keeps 104 bytes of state, .* declares 8"):
        load_route(generator.write_generator(tmp_path), TorchDevice())
