"""Reading grey sets of the MNIST family: four gzipped idx files.

The decompressed bytes must have the known SHA-256, so a mirror may compress as it likes.
"""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.files import find_file, forget

LIMIT_BYTES = 64 * 2**20
STEMS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")

Bytes = npt.NDArray[np.uint8]


def read_idx(name: str, url: str, sha256: Mapping[str, str]) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Pictures and labels to train on, pictures and labels to test on. Raises ValueError."""
    train_x, train_y, test_x, test_y = (_read(name, url, stem, sha256[stem]) for stem in STEMS)
    return train_x, train_y, test_x, test_y


def _read(name: str, url: str, stem: str, sha256: str) -> Bytes:
    path = find_file(name, [f"{stem}-ubyte.gz"], url, LIMIT_BYTES)
    try:
        return _parse(_unpack(path, sha256), stem)
    except ValueError:
        forget(path)
        raise


def _unpack(path: Path, sha256: str) -> bytes:
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise ValueError(f"{path} is damaged: sha256 {found}, expected {sha256}")
    return raw


def _parse(raw: bytes, stem: str) -> Bytes:
    """The idx format: 0, 0, type 8 (uint8), rank, big-endian sizes, bytes."""
    if raw[:3] != b"\x00\x00\x08":
        raise ValueError(f"{stem} is not an idx file of bytes")
    rank = raw[3]
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
