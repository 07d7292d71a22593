"""A route with two files a stage: which run, and that answers of the two are never shared."""

from pathlib import Path

import numpy as np
import pytest

from core.devices.interface import Precision
from core.devices.onnx import OnnxDevice
from core.devices.runnable import read_runnable
from core.errors import ModelDirectoryError
from core.manifest import read_manifest, use_int8
from harness.tiny_routes import describe_file, make_pictures, write_route
from routes.loading import load_route
from routes.offline import run_offline
from tests.fakes.tiny_kinds import write_exits, write_model
from tests.fakes.two_files import OTHER_SEED, write_two_files


def answer(directory: Path, precision: Precision = "float32") -> list[np.ndarray]:
    device = OnnxDevice(precision=precision)
    rows = run_offline(load_route(directory, device).pipeline, {"image": make_pictures(8)}, device)
    return [row.outcome.outputs["probabilities"] for row in rows if row.outcome]


def test_each_file_answers_where_it_is_asked_for(tmp_path: Path) -> None:
    both = write_two_files(tmp_path / "both", stages=3)
    cases: tuple[tuple[Precision, int], ...] = (("float32", 0), ("int8", OTHER_SEED))
    for precision, seed in cases:
        alone = write_route(tmp_path / precision, stages=3, seed=seed)
        np.testing.assert_array_equal(answer(both, precision), answer(alone))


def test_a_stage_says_which_of_two_files_runs(tmp_path: Path) -> None:
    directory = write_two_files(tmp_path)
    for precision in ("float32", "int8"):
        manifest = load_route(directory, OnnxDevice(precision=precision)).manifest
        assert [stage.precision for stage in manifest.stages] == [precision, precision]
    files = [stage.file for stage in manifest.stages]
    assert files == ["stage0-int8.onnx", "stage1-int8.onnx"]
    alone = load_route(write_route(tmp_path / "alone"), OnnxDevice(precision="int8")).manifest
    assert [stage.precision for stage in alone.stages] == [None, None]


def test_the_digest_covers_which_files_run(tmp_path: Path) -> None:
    manifest = read_manifest(write_two_files(tmp_path))
    choices = [[], ["stage0"], ["stage1"], ["stage0", "stage1"]]
    digests = [use_int8(manifest, chosen).digest for chosen in choices]
    assert len(set(digests)) == len(choices)
    assert digests[0] == manifest.digest
    changed = dict(manifest.files)
    changed["stage0-int8.onnx"] = changed["stage1-int8.onnx"]
    other = manifest.model_copy(update={"files": changed})
    assert use_int8(other, ["stage0"]).digest != digests[1]


def test_a_pipeline_has_the_digest_of_its_files(tmp_path: Path) -> None:
    directory = write_two_files(tmp_path)
    loaded = {
        precision: load_route(directory, OnnxDevice(precision=precision))
        for precision in ("float32", "int8")
    }
    assert loaded["float32"].pipeline.digest == read_manifest(directory).digest
    assert loaded["int8"].pipeline.digest == loaded["int8"].manifest.digest
    assert loaded["int8"].pipeline.digest != loaded["float32"].pipeline.digest


def test_the_faster_files_run_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(pair: object, *_: object) -> float:
        return 0.4 if "stage1" in str(pair) else 1.1

    monkeypatch.setattr("core.devices.onnx.find_ratio", measured)
    manifest = read_runnable(write_two_files(tmp_path), OnnxDevice())
    assert [stage.precision for stage in manifest.stages] == ["float32", "int8"]


@pytest.mark.parametrize("write", [write_exits, write_model], ids=["exits", "model"])
def test_other_kinds_of_pipelines_run_int8_files_too(tmp_path: Path, write: object) -> None:
    assert callable(write)
    others = write(tmp_path / "others", seed=OTHER_SEED)

    def add(table: dict) -> None:  # type: ignore[type-arg]
        folder = tmp_path / table["route"] / table["version"]
        twin = folder / "twin.onnx"
        twin.write_bytes((others / "stage0.onnx").read_bytes())
        table["stages"][0]["int8_file"] = twin.name
        table["files"][twin.name] = describe_file(twin)
        if table["pipeline"] == "model":
            table["outputs"] = [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}]
            table["labels"] = []

    directory = write(tmp_path, change=add)
    loaded = load_route(directory, OnnxDevice(precision="int8"))
    assert loaded.manifest.stages[0].file == "twin.onnx"


@pytest.mark.parametrize(
    ("name", "words"),
    [("gone.onnx", "gone.onnx is not in"), ("stage0.onnx", "int8_file: is the same as file")],
)
def test_a_wrong_int8_file_is_refused(tmp_path: Path, name: str, words: str) -> None:
    def spoil(table: dict) -> None:  # type: ignore[type-arg]
        table["stages"][0]["int8_file"] = name

    with pytest.raises(ModelDirectoryError, match=words):
        read_manifest(write_route(tmp_path, change=spoil))
