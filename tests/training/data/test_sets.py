"""Data files are checked before anything is learned from them."""

import gzip
from pathlib import Path

import pytest

from training.data.sets import load_data


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(b"not the pictures"))
    monkeypatch.setenv("SPARING_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is damaged: sha256"):
        load_data("fashion-mnist")


def test_a_truncated_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes(1000))[:-12])
    monkeypatch.setenv("SPARING_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is damaged"):
        load_data("fashion-mnist")


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARING_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="SPARING_DATA must hold mnist/train-images"):
        load_data("mnist")


def test_an_unknown_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there are \\['cifar10', 'fashion-mnist', 'mnist', 'tiny"):
        load_data("cifar")
