"""Route directories appear whole, read back, and never change."""

import dataclasses
import math
import tomllib
from pathlib import Path

import pytest

from core.errors import ModelDirectoryError
from core.manifest import read_manifest
from routes.writing import to_toml
from training.export.route_writer import (
    RouteDraft,
    StageFiles,
    describe_making,
    write_route,
)


def draft(folder: Path) -> RouteDraft:
    onnx = folder / "a.onnx"
    onnx.write_bytes(b"graph")
    first = StageFiles("light", onnx, {"net": "a"}, macs=10, temperature=1.25, threshold=0.5)
    last = StageFiles("large", onnx, {"net": "b"}, macs=90, temperature=0.9, threshold=None)
    return RouteDraft(
        route="squares",
        task="classify-squares",
        pipeline="dual-cnn",
        description='Says "which corner".',
        expected_macs=20.0,
        shape=(28, 28),
        labels=("a", "T-shirt/top"),
        stages=(first, last),
        options={"score": "max_probability", "post_check": True},
        provenance={"data": "squares", "held_out_accuracy": 0.9},
    )


def test_a_written_route_reads_back(tmp_path: Path) -> None:
    directory = write_route(tmp_path / "models", draft(tmp_path))
    manifest = read_manifest(directory)
    assert directory == tmp_path / "models" / "squares" / "1"
    assert (manifest.route, manifest.version, manifest.pipeline) == ("squares", "1", "dual-cnn")
    assert [(s.file, s.threshold) for s in manifest.stages] == [
        ("light.onnx", 0.5),
        ("large.onnx", None),
    ]
    assert manifest.labels == ("a", "T-shirt/top")
    assert manifest.options == {"score": "max_probability", "post_check": True}
    assert set(manifest.files) == {
        f"{stage}.{kind}" for stage in ("light", "large") for kind in ("onnx", "json")
    }


@pytest.mark.parametrize(("shape", "channels"), [((28, 28), 1), ((32, 48, 3), 3)])
def test_a_route_takes_pictures_as_its_nets_do(
    tmp_path: Path, shape: tuple[int, ...], channels: int
) -> None:
    made = dataclasses.replace(draft(tmp_path), shape=shape)
    manifest = read_manifest(write_route(tmp_path / "models", made))
    assert manifest.picture is not None
    assert manifest.inputs[0].shape == (-1, *shape)
    assert (manifest.picture.height, manifest.picture.width) == shape[:2]
    assert manifest.picture.channels == channels


def test_a_second_training_makes_a_second_version_and_leaves_the_first(tmp_path: Path) -> None:
    first = write_route(tmp_path / "models", draft(tmp_path))
    before = read_manifest(first).digest
    second = write_route(tmp_path / "models", draft(tmp_path))
    assert second.name == "2"
    assert read_manifest(first).digest == before


@pytest.mark.parametrize("name", ["light.onnx", "large.onnx", "light.json"])
def test_a_changed_file_is_refused_and_named(tmp_path: Path, name: str) -> None:
    directory = write_route(tmp_path / "models", draft(tmp_path))
    content = bytearray((directory / name).read_bytes())
    content[0] ^= 1
    (directory / name).write_bytes(content)
    with pytest.raises(ModelDirectoryError, match=name):
        read_manifest(directory)


def test_a_draft_that_no_server_would_load_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = dataclasses.replace(draft(tmp_path), expected_macs=-1.0)
    with pytest.raises(ModelDirectoryError, match="expected_macs"):
        write_route(tmp_path / "models", broken)
    assert list((tmp_path / "models").iterdir()) == []


def test_toml_reads_back_as_it_was() -> None:
    table = {
        "text": 'quo"te \\ line\nbreak \x7f é 😀',
        "numbers": [1, -2],
        "small": 1e-09,
        "yes": True,
        "empty": [],
        "nested": {"a.key with spaces": "x", "deeper": {"n": 0.25}},
        "items": [{"n": 1}, {"n": 2}],
    }
    assert tomllib.loads(to_toml({**table, "left_out": None})) == table
    assert math.isinf(tomllib.loads(to_toml({"n": math.inf}))["n"])
    with pytest.raises(ValueError, match="no value of type bytes"):
        to_toml({"n": b""})


def test_outside_a_repository_the_commit_is_unknown(tmp_path: Path) -> None:
    assert describe_making(tmp_path)["commit"] == "unknown"
