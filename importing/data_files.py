"""Arrays in .npy and .npz files: their sizes are known before a value is read.

Where not all rows fit into memory, the file is read in pieces, and only the chosen rows are kept.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, shorten

PIECE_BYTES = 2**24  # read at once while rows are chosen
PICKLED = (
    "holds Python objects, which need unpickling; save plain arrays with numpy.savez(x=…, y=…)"
)
_SUFFIX = ".npy"  # of an archive's members
_VERSIONS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in a file, which is not read yet."""

    path: Path
    member: str  # of an archive; "": the file is the array
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool  # Fortran's order

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """The bytes of one row in memory."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def read(self, places: npt.NDArray[np.integer] | None = None) -> Array:
        """Read all rows, or those at `places`, in ascending order. Raises ImportFault."""
        with _naming(self.path), _open(self.path, self.member) as file:
            if places is None:
                return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
            if self.by_columns:
                raise ImportFault(
                    f"--data {self.path}: is too large, and in Fortran's order, of which no rows "
                    "can be taken; save it with numpy.ascontiguousarray"
                )
            _read_header(file)
            return self._pick(file, places)

    def _pick(self, file: IO[bytes], places: npt.NDArray[np.integer]) -> Array:
        picked = np.empty((len(places), *self.shape[1:]), self.dtype)
        step = max(1, PIECE_BYTES // max(1, self.row_bytes))
        for start in range(0, self.rows, step):
            count = min(step, self.rows - start)
            raw = file.read(count * self.row_bytes)
            low, high = np.searchsorted(places, (start, start + count))
            piece = np.frombuffer(raw, self.dtype).reshape(count, *self.shape[1:])
            picked[low:high] = piece[places[low:high] - start]
        return picked


def open_array(path: Path) -> StoredArray:
    """Read what an .npy file holds, without its values. Raises ImportFault."""
    with _naming(path):
        if zipfile.is_zipfile(path):
            raise ImportFault(
                f"--data {path}: is an archive; give it alone, or a pair of .npy files, rows and "
                "labels"
            )
        return _describe(path, "")


def open_archive(path: Path) -> dict[str, StoredArray]:
    """Read what an .npz file holds, by name, without its values. Raises ImportFault."""
    with _naming(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        arrays = [(name, _describe(path, name)) for name in names if name.endswith(_SUFFIX)]
        return {name.removesuffix(_SUFFIX): array for name, array in arrays}


def _describe(path: Path, member: str) -> StoredArray:
    with _open(path, member) as file:
        shape, by_columns, dtype = _read_header(file)
    if dtype.hasobject:
        raise ImportFault(f"--data {path}: {PICKLED}")
    if not shape:
        name = member.removesuffix(_SUFFIX) or "the array"
        raise ImportFault(f"--data {path}: {name} is a single number; needed are rows")
    return StoredArray(path, member, shape, dtype, by_columns)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in _VERSIONS:
        raise ValueError(f"version {version} of numpy's format")
    return _VERSIONS[version](file)


@contextmanager
def _open(path: Path, member: str) -> Iterator[IO[bytes]]:
    if not member:
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, archive.open(member) as part:
        yield part


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn the faults of a file into a sentence that names it."""
    try:
        yield
    except ImportFault:
        raise
    except OSError as error:
        raise ImportFault(f"--data {path}: {error.strerror or shorten(error)}") from error
    except Exception as error:  # of a damaged file: numpy's, zipfile's and zlib's own
        raise ImportFault(f"--data {path}: is damaged: {shorten(error, 100)}") from error
