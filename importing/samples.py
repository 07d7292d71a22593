"""A user's data: a folder of class folders with pictures, an .npz with x and y, or two .npy files.

Rows are complete and verified when they are read: a fault is one sentence, before anything runs. Of
more rows than fit into memory a sample is read, with the same mix of classes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from importing.data_files import StoredArray, open_archive, open_array
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array
from importing.picture_files import read_picture, read_size

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
MIN_ROWS = 100
MAX_REPEATED = 0.01  # of the rows; more is a fault
_NAMES_OF_LABELS = ("y", "labels", "label", "targets")
_NAMES_OF_ROWS = ("x", "images", "pictures", "data", "inputs")
_NAMES_OF_CLASSES = ("classes", "class_names", "label_names")
MAX_ROWS = 100_000  # each also has its logits of every model in memory
MAX_BYTES = 2**30  # of rows in memory, of which an import makes up to two copies


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows and their labels. Pictures are files until `read_pictures` gives them a size."""

    source: str
    inputs: Mapping[str, Array]  # [N, ...] by name; "" where the file does not name the input
    files: tuple[Path, ...]  # of pictures, instead of `inputs`
    labels: Array  # [N] whole numbers of classes; [N, K] of 0 and 1; or floats
    names: tuple[str, ...]  # of classes; empty: not known
    notes: tuple[str, ...] = ()  # of what was left out, one clause each

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def are_classes(self) -> bool:
        """Whether each row has one class."""
        return self.labels.ndim == 1 and np.issubdtype(self.labels.dtype, np.integer)

    @property
    def are_label_sets(self) -> bool:
        """Whether each row may have several labels: a table of 0 and 1."""
        labels = self.labels
        return (
            labels.ndim == 2
            and np.issubdtype(labels.dtype, np.integer)
            and bool(((labels == 0) | (labels == 1)).all())
        )


def read_samples(text: str, seed: int = 0) -> Samples:
    """Read a folder, `x.npz`, or `x.npy,y.npy`; `seed` chooses rows where not all of them fit into
    memory. Raises ImportFault.
    """
    first, _, second = text.partition(",")
    path = Path(first)
    if second:
        rows, labels = open_array(path), open_array(Path(second))
        return _read_arrays(text, {"": rows}, labels, (), seed)
    if path.is_dir():
        return check_samples(_read_folder(path))
    if path.suffix == ".npz":
        return _read_archive(path, seed)
    raise ImportFault(
        f"--data {text}: allowed are a folder with a folder of pictures for each class, an .npz "
        "with x and y, or rows.npy,labels.npy"
    )


def read_pictures(
    samples: Samples, height: int, width: int, channels: int, seed: int = 0
) -> Samples:
    """Decode the files and stretch them to one size, as the server does: UINT8 [N, H, W(, 3)].

    `seed` chooses files where not all of them fit into memory.
    """
    if not samples.files:
        return samples
    places, notes = choose_places(samples, height * width * channels, seed)
    if notes:
        samples = replace(
            samples,
            files=tuple(samples.files[place] for place in places),
            labels=samples.labels[places],
            notes=samples.notes + notes,
        )
    shape = (height, width) if channels == 1 else (height, width, 3)
    rows = np.empty((len(samples.files), *shape), np.uint8)
    for place, path in enumerate(samples.files):
        rows[place] = read_picture(path, (width, height), "L" if channels == 1 else "RGB")
    return check_samples(replace(samples, inputs={"": rows}, files=()))


def find_sizes(samples: Samples, most: int = 200) -> set[tuple[int, int]]:
    """Return the sizes, height and width, of about `most` pictures from all classes."""
    sizes = set()
    classes = np.unique(samples.labels)
    for label in classes:
        places = np.flatnonzero(samples.labels == label)
        count = min(len(places), max(2, most // len(classes)))
        for place in places[np.linspace(0, len(places) - 1, count).astype(int)]:
            sizes.add(read_size(samples.files[place]))
    return sizes


def check_samples(samples: Samples) -> Samples:
    """Check counts, types and values; labels that are bools or unsigned become int64.

    Raises ImportFault.
    """
    place = f"--data {samples.source}"
    samples = replace(samples, labels=_cast_labels(samples.labels, place))
    for name, rows in samples.inputs.items():
        what = f"rows of {name}" if name else "rows"
        _check_count(what, len(rows), samples)
        if np.issubdtype(rows.dtype, np.floating) and not np.isfinite(rows).all():
            raise ImportFault(f"{place}: {what} hold NaN or infinities; remove these rows")
        if rows.dtype == np.uint8 and rows.size and rows.min() == rows.max():
            raise ImportFault(f"{place}: all {what} are the same")
    if len(samples) < MIN_ROWS:
        raise ImportFault(f"{place}: {len(samples)} rows, needed are at least {MIN_ROWS}")
    labels = samples.labels
    if np.issubdtype(labels.dtype, np.floating) and not np.isfinite(labels).all():
        raise ImportFault(f"{place}: labels hold NaN or infinities")
    if samples.are_classes:
        _check_classes(samples, place)
    return samples


def _check_count(what: str, rows: int, samples: Samples) -> None:
    if rows != len(samples):
        raise ImportFault(f"--data {samples.source}: {rows} {what}, but {len(samples)} labels")


def check_classes(samples: Samples, classes: int) -> None:
    """Check that labels are classes of a model with so many. Raises ImportFault."""
    place = f"--data {samples.source}"
    counts = np.bincount(samples.labels, minlength=classes)
    if len(counts) > classes:
        raise ImportFault(
            f"{place}: labels reach {len(counts) - 1}, the model has {classes} classes, 0 to "
            f"{classes - 1}"
        )
    if samples.names and len(samples.names) != classes:
        raise ImportFault(f"{place}: {len(samples.names)} classes, but the model has {classes}")
    missing = np.flatnonzero(counts == 0)
    if missing.size:
        raise ImportFault(f"{place}: no row of class {_name(samples, int(missing[0]))}")
    if counts.min() < 2 <= counts.mean():  # else there is about one row a class, and they are split
        scarce = int(counts.argmin())
        raise ImportFault(
            f"{place}: one row of class {_name(samples, scarce)}; each class needs at least 2"
        )


def hash_rows(samples: Samples) -> list[bytes]:
    """Return a hash of every row's inputs."""
    columns = [np.ascontiguousarray(rows) for _, rows in sorted(samples.inputs.items())]
    return [
        hashlib.sha256(b"".join(rows[i].tobytes() for rows in columns)).digest()
        for i in range(len(samples))
    ]


def drop_repeated(samples: Samples) -> tuple[Samples, int]:
    """Leave out rows that stand in the data before, and return how many they were.

    Raises ImportFault if they are many, or the same row has two labels.
    """
    first: dict[bytes, int] = {}
    kept, dropped = [], 0
    for place, digest in enumerate(hash_rows(samples)):
        if digest not in first:
            first[digest] = place
            kept.append(place)
            continue
        dropped += 1
        if not np.array_equal(samples.labels[first[digest]], samples.labels[place]):
            raise ImportFault(
                f"--data {samples.source}: rows {first[digest]} and {place} are the same, with "
                f"the labels {samples.labels[first[digest]]} and {samples.labels[place]}"
            )
    if dropped > MAX_REPEATED * len(samples):
        raise ImportFault(
            f"--data {samples.source}: {dropped} of {len(samples)} rows are repeated, so the same "
            "row would both choose and test; remove them"
        )
    return (take_rows(samples, np.array(kept)), dropped) if dropped else (samples, 0)


def take_rows(samples: Samples, places: npt.NDArray[np.integer]) -> Samples:
    """Return some of the rows."""
    inputs = {name: rows[places] for name, rows in samples.inputs.items()}
    return replace(samples, inputs=inputs, labels=samples.labels[places])


def _cast_labels(labels: Array, place: str) -> Array:
    if labels.dtype.kind not in "biuf":
        raise ImportFault(
            f"{place}: labels are {labels.dtype}, needed are numbers; write classes as 0, 1, 2 …"
        )
    return labels.astype(np.int64) if labels.dtype.kind in "bu" else labels


def _check_classes(samples: Samples, place: str) -> None:
    labels = samples.labels
    if labels.min() < 0:
        raise ImportFault(f"{place}: labels begin at {labels.min()}; classes begin at 0")
    if labels.min() == labels.max():
        raise ImportFault(f"{place}: all rows have the class {labels.min()}")


def _name(samples: Samples, index: int) -> str:
    return f"{index} ({samples.names[index]})" if samples.names else str(index)


def _read_folder(path: Path) -> Samples:
    folders = sorted(one for one in path.iterdir() if one.is_dir() and one.name[0] != ".")
    if len(folders) < 2:
        raise ImportFault(
            f"--data {path}: {len(folders)} folders, needed is a folder of pictures for each class"
        )
    files: list[Path] = []
    labels: list[int] = []
    for index, folder in enumerate(folders):
        found = sorted(one for one in folder.iterdir() if one.suffix.lower() in SUFFIXES)
        if not found:
            raise ImportFault(f"--data {path}: folder {folder.name} holds no pictures")
        files += found
        labels += [index] * len(found)
    names = tuple(folder.name for folder in folders)
    return Samples(str(path), {}, tuple(files), np.array(labels, np.int64), names)


def _read_archive(path: Path, seed: int) -> Samples:
    arrays = open_archive(path)
    label = next((name for name in _NAMES_OF_LABELS if name in arrays), None)
    if label is None:
        raise ImportFault(f"--data {path}: has no y, it holds {', '.join(arrays) or 'nothing'}")
    labels = arrays.pop(label)
    named = next((name for name in _NAMES_OF_CLASSES if name in arrays), None)
    names = tuple(str(one) for one in _read_whole(arrays.pop(named))) if named else ()
    rows = next((name for name in _NAMES_OF_ROWS if name in arrays), None)
    inputs = {"": arrays[rows]} if rows else arrays
    if not inputs:
        raise ImportFault(f"--data {path}: has no x")
    return _read_arrays(str(path), inputs, labels, names, seed)


def _read_arrays(
    source: str,
    inputs: Mapping[str, StoredArray],
    stored: StoredArray,
    names: tuple[str, ...],
    seed: int,
) -> Samples:
    """Read the rows, or as many of them as fit into memory."""
    labels = _tidy(_read_whole(stored))
    whole = Samples(source, {}, (), labels, names)
    for name, rows in inputs.items():
        _check_count(f"rows of {name}" if name else "rows", rows.rows, whole)
    row_bytes = sum(rows.row_bytes for rows in inputs.values())
    places, notes = choose_places(whole, row_bytes, seed)
    chosen = places if notes else None
    read = {name: rows.read(chosen) for name, rows in inputs.items()}
    return check_samples(replace(whole, inputs=read, labels=labels[places], notes=notes))


def _read_whole(stored: StoredArray) -> Array:
    if stored.rows * stored.row_bytes > MAX_BYTES:
        raise ImportFault(
            f"--data {stored.path}: {stored.member or 'labels'} alone needs "
            f"{stored.rows * stored.row_bytes / 1e9:.1f} GB, allowed are {MAX_BYTES / 1e9:.1f}"
        )
    return stored.read()


def choose_places(
    samples: Samples, row_bytes: int, seed: int
) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    """Return the places of the rows that fit into memory, and what to say where these are not all.

    The sample has the same mix of classes, and at least two rows of each.
    """
    rows, most = len(samples), MAX_BYTES // max(1, row_bytes)
    if most < MIN_ROWS:
        raise ImportFault(
            f"--data {samples.source}: a row needs {row_bytes / 1e6:,.0f} MB of memory, and at "
            f"least {MIN_ROWS} rows must fit into {MAX_BYTES / 1e6:,.0f} MB"
        )
    most = min(most, MAX_ROWS)
    if rows <= most:
        return np.arange(rows), ()
    order = np.random.default_rng(seed).permutation(rows)
    if samples.are_classes:
        order = order[np.argsort(samples.labels[order], kind="stable")]
        _, starts, counts = np.unique(samples.labels[order], return_index=True, return_counts=True)
        ranks = np.arange(rows) - np.repeat(starts, counts)  # of each row in its class
        order = order[ranks < np.repeat(np.maximum(2, counts * most // rows), counts)]
    places = np.sort(order[: 2 * most] if samples.are_classes else order[:most])
    mix = ", with the same mix of classes" if samples.are_classes else ""
    note = (
        f"{len(places):,} of {rows:,} rows were taken{mix}: more than {MAX_ROWS:,} rows, or "
        f"{MAX_BYTES / 1e9:.1f} GB of them, are not read; all need {rows * row_bytes / 1e9:.1f} GB"
    )
    return places, (note,)


def _tidy(array: Array) -> Array:
    """Return labels [N, 1] as [N], and unsigned ones as int64; rows as they are."""
    if array.ndim == 2 and array.shape[1] == 1 and np.issubdtype(array.dtype, np.integer):
        array = array[:, 0]
    if array.ndim == 1 and (np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_):
        return array.astype(np.int64)
    return array


def split_rows(
    samples: Samples, seed: int, share: float = 0.5
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the rows that choose and the rows that test, with the same mix of classes. Classes of
    one row are divided among the two.
    """
    rng = np.random.default_rng(seed)
    if not samples.are_classes:
        order = rng.permutation(len(samples))
        cut = round(len(samples) * share)
        return np.sort(order[:cut]), np.sort(order[cut:])
    choose: list[npt.NDArray[np.intp]] = []
    test: list[npt.NDArray[np.intp]] = []
    classes = [np.flatnonzero(samples.labels == label) for label in np.unique(samples.labels)]
    alone = [rows for rows in classes if len(rows) == 1]
    groups = [rows for rows in classes if len(rows) > 1]
    if alone:
        groups.append(np.concatenate(alone))
    for rows in groups:
        order = rng.permutation(rows)
        cut = max(1, min(len(order) - 1, round(len(order) * share)))
        choose.append(order[:cut])
        test.append(order[cut:])
    return np.sort(np.concatenate(choose)), np.sort(np.concatenate(test))


def fingerprint(samples: Samples, places: Sequence[int] | npt.NDArray[np.integer]) -> str:
    """Return the SHA-256 of some rows and their labels: the identity of the data."""
    part = take_rows(samples, np.asarray(places))
    total = hashlib.sha256()
    for digest in hash_rows(part):
        total.update(digest)
    total.update(np.ascontiguousarray(part.labels).tobytes())
    return total.hexdigest()
