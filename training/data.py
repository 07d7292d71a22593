"""Data sets as verified numpy arrays, split once and for all into train, held-out and test.

Files come from `$SPARING_DATA/<name>/` where that is set, else from a download into the user's
cache. Either way the decompressed bytes must have the known SHA-256, so a mirror may compress as it
likes.
"""

import gzip
import hashlib
import os
import struct
import urllib.request
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import numpy.typing as npt

HELD_OUT_ROWS = 5_000
_DOWNLOAD_LIMIT_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """Where a set comes from and what it must contain."""

    url: str
    sha256: dict[str, str]  # file stem -> hash of the decompressed bytes
    labels: tuple[str, ...]
    mean: float
    std: float


_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")

SOURCES: dict[str, Source] = {
    "fashion-mnist": Source(
        url="https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        sha256=dict(
            zip(
                _FILES,
                (
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                ),
                strict=True,
            )
        ),
        labels=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        mean=0.2860,
        std=0.3530,
    ),
    "mnist": Source(
        url="https://ossci-datasets.s3.amazonaws.com/mnist",
        sha256=dict(
            zip(
                _FILES,
                (
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                ),
                strict=True,
            )
        ),
        labels=tuple("0123456789"),
        mean=0.1307,
        std=0.3081,
    ),
}


@dataclass(frozen=True, slots=True)
class Split:
    """uint8 pictures [N, H, W] and int64 labels [N]."""

    pictures: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DataSet:
    """`held_out` is cut from the official training set by a fixed seed; `test` is the official."""

    name: str
    source: Source
    train: Split
    held_out: Split
    test: Split
    identity: str  # sha256 over the files' hashes: what provenance and certificates name


def load_data(name: str) -> DataSet:
    """Read, verify and split a data set. Raises ValueError for an unknown name or damaged files."""
    source = SOURCES.get(name)
    if source is None:
        raise ValueError(f"unknown data set {name!r}; there are {sorted(SOURCES)}")
    train_x, train_y, test_x, test_y = (
        _parse_idx(_fetch(name, stem, source), stem) for stem in _FILES
    )
    order = np.random.default_rng(20240607).permutation(len(train_x))
    held_out, train = np.sort(order[:HELD_OUT_ROWS]), np.sort(order[HELD_OUT_ROWS:])
    identity = hashlib.sha256("".join(source.sha256[s] for s in _FILES).encode()).hexdigest()
    labels = train_y.astype(np.int64)
    return DataSet(
        name=name,
        source=source,
        train=Split(train_x[train], labels[train]),
        held_out=Split(train_x[held_out], labels[held_out]),
        test=Split(test_x, test_y.astype(np.int64)),
        identity=identity,
    )


def _fetch(name: str, stem: str, source: Source) -> bytes:
    file_name = f"{stem}-ubyte.gz"
    root = os.environ.get("SPARING_DATA")
    folder = Path(root) if root else _cache_folder()
    path = folder / name / file_name
    if not path.exists():
        if root:
            raise ValueError(f"{path} does not exist; SPARING_DATA must hold {name}/{file_name}")
        _download(f"{source.url}/{file_name}", path)
    try:
        return _unpack(path, source.sha256[stem])
    except ValueError:
        if not root:  # our own copy; the next call downloads it anew
            path.unlink()
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


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sparing"


def _download(url: str, path: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            body = answer.read(_DOWNLOAD_LIMIT_BYTES + 1)
    except (OSError, HTTPException) as error:
        raise ValueError(
            f"could not download {url} ({error}); set SPARING_DATA to a folder that has the files"
        ) from error
    if len(body) > _DOWNLOAD_LIMIT_BYTES:
        raise ValueError(f"{url} is larger than {_DOWNLOAD_LIMIT_BYTES} bytes; not kept")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(body)
    partial.replace(path)


def _parse_idx(raw: bytes, stem: str) -> npt.NDArray[np.uint8]:
    """The idx format: 0, 0, type 8 (uint8), rank, big-endian sizes, bytes."""
    if raw[:3] != b"\x00\x00\x08":
        raise ValueError(f"{stem} is not an idx file of bytes")
    rank = raw[3]
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
