"""CIFAR-10 is read from its official archive or packed without loss, and from nothing else."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.data.cifar import ARCHIVE, PACKED, PARTS, read_cifar, unpack

Bytes = npt.NDArray[np.uint8]
ROWS = 6


def make_pictures(seed: int) -> tuple[Bytes, Bytes]:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (ROWS, 32, 32, 3), dtype=np.uint8)
    pictures[0] = 255
    pictures[1] = np.arange(32, dtype=np.uint8)[:, None, None]  # smooth, as photographs are
    return pictures, rng.integers(0, 10, ROWS).astype(np.uint8)


TRAIN, TEST = make_pictures(1), make_pictures(2)
SHA256 = dict(
    zip(PARTS, (hashlib.sha256(a.tobytes()).hexdigest() for a in (*TRAIN, *TEST)), strict=True)
)


def pack(pictures: Bytes) -> Bytes:
    """Residuals pixel by pixel, the slow and obvious way."""
    red, green, blue = (pictures[..., channel].astype(int) for channel in range(3))
    planes = [green, (red - green + 128) % 256, (blue - green + 128) % 256]
    residuals = np.empty((3, *pictures.shape[:3]), np.uint8)
    for index, plane in enumerate(planes):
        for row, y, x in np.ndindex(*plane.shape):
            left = plane[row, y, x - 1] if x else 128
            above = plane[row, y - 1, x] if y else left
            if not x:
                guess = above if y else 128
            elif not y:
                guess = left
            else:
                guess = sorted((left, above, left + above - plane[row, y - 1, x - 1]))[1]
            residuals[index, row, y, x] = (plane[row, y, x] - guess) % 256
    return residuals


def write_packed(folder: Path) -> None:
    np.savez(
        folder / PACKED,
        train_residual=pack(TRAIN[0]),
        train_labels=TRAIN[1],
        test_residual=pack(TEST[0]),
        test_labels=TEST[1],
    )


def write_archive(folder: Path, leave_out: str = "") -> None:
    batches = {f"data_batch_{n + 1}": (TRAIN[0][n : n + 1], TRAIN[1][n : n + 1]) for n in range(4)}
    batches["data_batch_5"] = (TRAIN[0][4:], TRAIN[1][4:])
    batches["test_batch"] = TEST
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name, (pictures, labels) in batches.items():
            if name == leave_out:
                continue
            planes = pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1)
            raw = np.concatenate([labels[:, None], planes], axis=1).tobytes()
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARING_DATA", str(tmp_path))
    (tmp_path / "cifar10").mkdir()
    return tmp_path / "cifar10"


def read() -> tuple[Bytes, Bytes, Bytes, Bytes]:
    return read_cifar("cifar10", "", SHA256)


@pytest.mark.parametrize("write", [write_packed, write_archive], ids=["packed", "archive"])
def test_both_forms_give_the_same_arrays(folder: Path, write: Callable[[Path], None]) -> None:
    write(folder)
    for found, expected in zip(read(), (*TRAIN, *TEST), strict=True):
        assert np.array_equal(found, expected)


def test_unpacking_undoes_packing_at_every_border() -> None:
    assert np.array_equal(unpack(pack(TRAIN[0])), TRAIN[0])


def test_other_pictures_are_refused_with_both_hashes(folder: Path) -> None:
    np.savez(
        folder / PACKED,
        train_residual=pack(TRAIN[0]) ^ 1,
        train_labels=TRAIN[1],
        test_residual=pack(TEST[0]),
        test_labels=TEST[1],
    )
    with pytest.raises(ValueError, match=r"npz is damaged: train-pictures have sha256 .*expected"):
        read()


@pytest.mark.parametrize("name", [PACKED, ARCHIVE])
def test_a_truncated_file_is_named(folder: Path, name: str) -> None:
    write_packed(folder) if name == PACKED else write_archive(folder)
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=f"{name} is damaged: "):
        read()


def test_an_archive_without_one_of_its_files_is_named(folder: Path) -> None:
    write_archive(folder, leave_out="data_batch_3")
    with pytest.raises(ValueError, match=r"gz is damaged: .*data_batch_3.bin"):
        read()


def test_pickled_objects_in_the_packed_file_are_refused(folder: Path) -> None:
    object_array = np.array([{"no": "pickles"}], dtype=object)
    np.savez(folder / PACKED, train_residual=object_array)
    with pytest.raises(ValueError, match=r"is damaged: .*allow_pickle"):
        read()


def test_a_missing_set_is_told_with_both_names(folder: Path) -> None:
    with pytest.raises(ValueError, match=f"must hold cifar10/{PACKED} or cifar10/{ARCHIVE}"):
        read()
