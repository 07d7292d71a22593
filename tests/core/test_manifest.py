"""Reading `route.toml`: what is accepted, and that every sort of damage is named."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import ModelDirectoryError
from core.manifest import MAX_MANIFEST_BYTES, read_manifest
from harness.tiny_routes import write_route

Table = dict[str, Any]


def test_a_whole_directory_is_read(tmp_path: Path) -> None:
    manifest = read_manifest(write_route(tmp_path, "fashion", "3", stages=3))
    assert (manifest.route, manifest.version, manifest.pipeline) == ("fashion", "3", "dual-cnn")
    assert [stage.threshold for stage in manifest.stages] == [0.5, 0.5, None]
    assert manifest.inputs[0].shape == (-1, 28, 28)
    assert len(manifest.digest) == 32


def _set(*path: str | int, value: object) -> Callable[[Table], None]:
    def change(table: Table) -> None:
        place: Any = table
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value

    return change


def _drop(*path: str | int) -> Callable[[Table], None]:
    def change(table: Table) -> None:
        place: Any = table
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_set("colour", value="blue"), "colour"),
        (_set("stages", 0, "speed", value=1), "stages.0.speed"),
        (_set("format", value=2), "format"),
        (_set("version", value="one"), "version"),
        (_set("route", value="../up"), "route"),
        (_set("stages", value=[]), "stages"),
        (_set("inputs", value=[]), "inputs"),
        (_set("stages", 0, "macs", value=-1), "stages.0.macs"),
        (_set("stages", 0, "temperature", value=0.0), "stages.0.temperature"),
        (_set("stages", 0, "temperature", value=1e-320), "stages.0.temperature"),
        (_set("stages", 0, "temperature", value=float("inf")), "stages.0.temperature"),
        (_set("expected_macs", value=float("inf")), "expected_macs"),
        (_set("stages", 0, "threshold", value=1.5), "stages.0.threshold"),
        (_set("stages", 0, "max_batch", value=0), "stages.0.max_batch"),
        (_set("inputs", 0, "datatype", value="FLOAT"), "inputs.0.datatype"),
        (_set("inputs", 0, "on_request", value=True), "inputs.image.on_request"),
        (_set("outputs", 1, "finite", value=True), "outputs.probabilities.finite"),
        (_set("picture", "channels", value=2), "picture.channels"),
        (_set("cache", "ttl_s", value=0), "cache.ttl_s"),
        (_set("cache", "ttl_s", value=1e12), "cache.ttl_s"),
        (_set("files", "stage0.onnx", "sha256", value="abc"), "sha256"),
        (_set("digest", value="00"), "digest"),
        (_drop("provenance"), "provenance"),
        (_drop("expected_macs"), "expected_macs"),
        (_drop("files", "stage1.onnx"), "stage1.onnx"),
        (_set("files", "../x", value={"size_bytes": 0, "sha256": "0" * 64}), "../x"),
        (_set("files", "gone.json", value={"size_bytes": 0, "sha256": "0" * 64}), "gone.json"),
    ],
)
def test_a_wrong_manifest_is_refused_and_the_fault_named(
    tmp_path: Path, change: Callable[[Table], None], named: str
) -> None:
    directory = write_route(tmp_path, change=change)
    with pytest.raises(ModelDirectoryError, match=re.escape(named)) as caught:
        read_manifest(directory)
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [b"", b"format = ", b"\xff\xfe", b"format = 1\nformat = 1", b"x" * (MAX_MANIFEST_BYTES + 1)],
    ids=["empty", "cut", "not utf-8", "twice", "huge"],
)
def test_bytes_that_are_no_manifest_are_refused(tmp_path: Path, raw: bytes) -> None:
    directory = write_route(tmp_path)
    (directory / "route.toml").write_bytes(raw)
    with pytest.raises(ModelDirectoryError, match=re.escape(str(directory))):
        read_manifest(directory)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    directory = write_route(tmp_path)
    (directory / "route.toml").unlink()
    with pytest.raises(ModelDirectoryError, match=r"route\.toml"):
        read_manifest(directory)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink, _replace_by_folder])
@pytest.mark.parametrize("name", ["stage0.onnx", "stage1.onnx"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], None], name: str) -> None:
    directory = write_route(tmp_path)
    damage(directory / name)
    with pytest.raises(ModelDirectoryError, match=re.escape(str(directory / name))):
        read_manifest(directory)


def test_the_digest_follows_weights_thresholds_and_preprocessing(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"thresholds": [0.6]},
        {"combine": "average"},
        {"change": _set("picture", "resize", value=False)},
    ]
    digests = {
        read_manifest(write_route(tmp_path / str(index), **change)).digest
        for index, change in enumerate(changes)
    }
    assert len(digests) == len(changes)
    again = read_manifest(write_route(tmp_path / "again")).digest
    assert again == read_manifest(tmp_path / "0" / "tiny" / "1").digest
