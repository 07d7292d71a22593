"""Tiny-ImageNet-30 is read from the official archive or packed, alike, and from nothing else."""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.sets import load_data
from training.data.tiny_imagenet import ARCHIVE, CLASSES, PACKED, PARTS, read_tiny_imagenet

WORDNET = list(CLASSES)
OTHER = "n99999999"  # a class of the archive that is not read


def make_files(seed: int) -> list[tuple[int, bytes]]:
    """JPEG files of three classes, one of them grey, in no order."""
    rng = np.random.default_rng(seed)
    files = []
    for label in (7, 0, 7, 29):
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels if label else pixels[..., 0])
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG")
        files.append((label, buffer.getvalue()))
    return files


TRAIN, TEST = make_files(1), make_files(2)
SHA256 = {
    part: hashlib.sha256(
        b"".join(sorted(bytes([label]) + hashlib.sha256(file).digest() for label, file in files))
    ).hexdigest()
    for part, files in zip(PARTS, (TRAIN, TEST), strict=True)
}


def write_packed(folder: Path) -> None:
    arrays = {}
    for part, files in (("train", TRAIN), ("val", TEST)):
        arrays[f"{part}_bytes"] = np.frombuffer(b"".join(file for _, file in files), np.uint8)
        sizes = np.cumsum([0, *(len(file) for _, file in files)])
        arrays[f"{part}_offsets"] = sizes.astype(np.uint32)
        arrays[f"{part}_labels"] = np.array([label for label, _ in files], np.uint8)
    np.savez(folder / PACKED, **arrays)  # type: ignore[arg-type]


def write_archive(folder: Path) -> None:
    root = "tiny-imagenet-200"
    with zipfile.ZipFile(folder / ARCHIVE, "w") as archive:
        archive.writestr(f"{root}/train/{OTHER}/images/{OTHER}_0.JPEG", b"another class")
        archive.writestr(f"{root}/train/{WORDNET[0]}/{WORDNET[0]}_boxes.txt", b"boxes")
        for number, (label, file) in enumerate(TRAIN):
            name = WORDNET[label]
            archive.writestr(f"{root}/train/{name}/images/{name}_{number}.JPEG", file)
        lines = []
        for number, (label, file) in enumerate(TEST):
            archive.writestr(f"{root}/val/images/val_{number}.JPEG", file)
            lines.append(f"val_{number}.JPEG\t{WORDNET[label]}\t0\t32\t44\t62")
        lines.append(f"val_99.JPEG\t{OTHER}\t0\t0\t63\t63")
        archive.writestr(f"{root}/val/val_annotations.txt", "\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the data set's files are looked for."""
    monkeypatch.setenv("SPARING_DATA", str(tmp_path))
    (tmp_path / "tiny").mkdir()
    return tmp_path / "tiny"


@pytest.mark.parametrize("write", [write_packed, write_archive])
def test_both_files_give_the_same_pictures(folder: Path, write: Callable[[Path], None]) -> None:
    write(folder)
    train_x, train_y, test_x, test_y = read_tiny_imagenet("tiny", "", SHA256)
    assert sorted(train_y.tolist()) == sorted(test_y.tolist()) == [0, 7, 7, 29]
    assert train_x.shape == test_x.shape == (4, 64, 64, 3)
    files = {label: file for label, file in TRAIN if label != 7}
    for label in (0, 29):
        (row,) = np.flatnonzero(train_y == label)
        picture = Image.open(io.BytesIO(files[label])).convert("RGB")
        assert np.array_equal(train_x[row], np.asarray(picture))


def test_another_picture_is_refused(folder: Path) -> None:
    write_packed(folder)
    other = {**SHA256, PARTS[1]: "0" * 64}
    with pytest.raises(ValueError, match=rf"{PACKED} is damaged: test-pictures have sha256 \w+"):
        read_tiny_imagenet("tiny", "", other)


@pytest.mark.parametrize(
    ("name", "content"),
    [(PACKED, b"no arrays"), (ARCHIVE, b"no archive"), (PACKED, b"PK\x03\x04 cut off")],
)
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        read_tiny_imagenet("tiny", "", SHA256)


def test_a_file_larger_than_any_picture_is_not_unpacked(folder: Path) -> None:
    with zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        name = f"tiny-imagenet-200/train/{WORDNET[0]}/images/0.JPEG"
        archive.writestr(name, bytes(2**20 + 1))
    with pytest.raises(ValueError, match=r"0.JPEG is larger than 1048576 bytes"):
        read_tiny_imagenet("tiny", "", SHA256)


@pytest.mark.data
@pytest.mark.skipif("SPARING_DATA" not in os.environ, reason="set SPARING_DATA to its folder")
def test_the_data_set_has_its_rows_and_statistics() -> None:
    data = load_data("tiny-imagenet-30")
    assert [len(one.labels) for one in (data.train, data.held_out, data.test)] == [
        13_500, 1_500, 1_500,
    ]  # fmt: skip
    assert np.bincount(data.test.labels).tolist() == [50] * 30
    assert len(set(data.test.labels[:150].tolist())) == 30
    pixels = np.concatenate([data.train.pictures, data.held_out.pictures]) / 255.0
    assert pixels.mean(axis=(0, 1, 2)) == pytest.approx(data.source.mean, abs=1e-4)
    assert pixels.std(axis=(0, 1, 2)) == pytest.approx(data.source.std, abs=1e-4)
