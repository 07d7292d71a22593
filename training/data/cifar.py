"""Reading CIFAR-10: its official binary archive, or the same pictures packed without loss.

The packed file (`cifar10_packed.npz`) holds residuals of a predictor, which deflate well. Either
way the decoded arrays must have the known SHA-256. Nothing is unpickled and nothing of the archive
is written to disk.
"""

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from training.data.files import find_file, forget

ARCHIVE, PACKED = "cifar-10-binary.tar.gz", "cifar10_packed.npz"
LIMIT_BYTES = 200 * 2**20
PARTS = ("train-pictures", "train-labels", "test-pictures", "test-labels")
_SIZE = 32
_RECORD_BYTES = 1 + 3 * _SIZE * _SIZE
_CHUNK_ROWS = 4096

Bytes = npt.NDArray[np.uint8]
Shorts = npt.NDArray[np.int16]


def read_cifar(name: str, url: str, sha256: Mapping[str, str]) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """uint8 pictures [N, 32, 32, 3] and labels [N] to train on, then to test on.

    Raises ValueError.
    """
    path = find_file(name, [PACKED, ARCHIVE], url, LIMIT_BYTES)
    try:
        arrays = _read_packed(path) if path.name == PACKED else _read_archive(path)
        for part, array in zip(PARTS, arrays, strict=True):
            found = hashlib.sha256(array.tobytes()).hexdigest()
            if found != sha256[part]:
                raise ValueError(f"{part} have sha256 {found}, expected {sha256[part]}")
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError, zipfile.BadZipFile,
            zlib.error) as error:  # fmt: skip
        forget(path)
        raise ValueError(f"{path} is damaged: {error}") from error
    return arrays


def _read_archive(path: Path) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Records of a label and three colour planes; five files to train on and one to test on."""
    with tarfile.open(path) as archive:
        files = [f"data_batch_{number}" for number in range(1, 6)]
        train_x, train_y = _split([_member(archive, file) for file in files])
        test_x, test_y = _split([_member(archive, "test_batch")])
    return train_x, train_y, test_x, test_y


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file: IO[bytes] | None = archive.extractfile(f"cifar-10-batches-bin/{name}.bin")
    if file is None:
        raise ValueError(f"{name}.bin is no file")
    return file.read(LIMIT_BYTES)


def _split(parts: list[bytes]) -> tuple[Bytes, Bytes]:
    records = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, _RECORD_BYTES)
    planes = records[:, 1:].reshape(-1, 3, _SIZE, _SIZE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].copy()


def _read_packed(path: Path) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        return (
            unpack(file["train_residual"]),
            file["train_labels"].astype(np.uint8),
            unpack(file["test_residual"]),
            file["test_labels"].astype(np.uint8),
        )


def unpack(residuals: Bytes) -> Bytes:
    """Pictures [N, H, W, 3] of residuals [3, N, H, W], whose planes are green, red - green + 128
    and blue - green + 128; each pixel is predicted by the median edge detector of LOCO-I.
    """
    green, red, blue = (_undo_prediction(plane) for plane in residuals)
    offset = np.uint8(128)
    return np.stack([red + green - offset, green, blue + green - offset], axis=-1)


def _undo_prediction(plane_NHW: Bytes) -> Bytes:
    parts = [
        _undo_chunk(plane_NHW[start : start + _CHUNK_ROWS])
        for start in range(0, len(plane_NHW), _CHUNK_ROWS)
    ]
    return np.concatenate(parts)


def _undo_chunk(plane_NHW: Bytes) -> Bytes:
    errors = np.ascontiguousarray(plane_NHW.transpose(1, 2, 0)).astype(np.int16)  # [H, W, N]
    values = np.empty_like(errors)
    height, width, rows = errors.shape
    for y in range(height):
        for x in range(width):
            if y and x:
                guess = _median_edge(values[y, x - 1], values[y - 1, x], values[y - 1, x - 1])
            elif x:
                guess = values[0, x - 1]
            else:
                guess = values[y - 1, 0] if y else np.full(rows, 128, np.int16)
            values[y, x] = (errors[y, x] + guess) & 255
    return values.astype(np.uint8).transpose(2, 0, 1)


def _median_edge(left: Shorts, above: Shorts, corner: Shorts) -> Shorts:
    """The median of left, above and left + above - corner."""
    low, high = np.minimum(left, above), np.maximum(left, above)
    guess: Shorts = np.clip(left + above - corner, low, high)
    return guess
