"""Reading Tiny-ImageNet-30: 30 of the 200 classes of Tiny-ImageNet, in pictures of 64x64 pixels.

It is read from the official archive, or from the same JPEG files put together in one npz file. Rows
are in the order of a hash of the label and the JPEG file, so that both give the same arrays, and
the first rows have all classes. The JPEG files must have the known SHA-256. The pictures are for
research only: none is shipped.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from training.data.files import find_file, forget

ARCHIVE, PACKED = "tiny-imagenet-200.zip", "tiny_imagenet30_jpeg.npz"
LIMIT_BYTES, MEMBER_LIMIT_BYTES = 300 * 2**20, 2**20
PARTS = ("train-pictures", "test-pictures")
SIZE_PX = 64
CLASSES = {  # WordNet's name -> the label's
    "n01443537": "goldfish",
    "n01768244": "trilobite",
    "n01910747": "jellyfish",
    "n02002724": "black stork",
    "n02099601": "golden retriever",
    "n02125311": "cougar",
    "n02231487": "walking stick",
    "n02321529": "sea cucumber",
    "n02437312": "Arabian camel",
    "n02669723": "academic gown",
    "n02793495": "barn",
    "n02823428": "beer bottle",
    "n02909870": "bucket",
    "n02977058": "cash machine",
    "n03089624": "confectionery",
    "n03255030": "dumbbell",
    "n03424325": "gas mask",
    "n03637318": "lampshade",
    "n03770439": "miniskirt",
    "n03854065": "organ",
    "n03977966": "police van",
    "n04070727": "refrigerator",
    "n04149813": "scoreboard",
    "n04285008": "sports car",
    "n04398044": "teapot",
    "n04487081": "trolleybus",
    "n04562935": "water tower",
    "n07615774": "ice lolly",
    "n07747607": "orange",
    "n07920052": "espresso",
}
_FOLDER = "tiny-imagenet-200"

Bytes = npt.NDArray[np.uint8]
Files = Sequence[tuple[int, bytes]]  # a label and a JPEG file each


def read_tiny_imagenet(
    name: str, url: str, sha256: Mapping[str, str]
) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """uint8 pictures [N, 64, 64, 3] and labels [N] to train on, then those of the official
    validation set, to test on. Raises ValueError.
    """
    path = find_file(name, [PACKED, ARCHIVE], url, LIMIT_BYTES)
    try:
        read = _read_packed if path.name == PACKED else _read_archive
        train, test = (
            _decode(files, part, sha256[part])
            for part, files in zip(PARTS, read(path), strict=True)
        )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, UnidentifiedImageError,
            zlib.error) as error:  # fmt: skip
        forget(path)
        raise ValueError(f"{path} is damaged: {error}") from error
    return *train, *test


def _read_packed(path: Path) -> tuple[Files, Files]:
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as arrays:
        train, test = (_cut(arrays, part) for part in ("train", "val"))
    return train, test


def _cut(arrays: Mapping[str, npt.NDArray[np.integer]], part: str) -> Files:
    joined = arrays[f"{part}_bytes"].tobytes()
    ends = arrays[f"{part}_offsets"].tolist()
    labels = arrays[f"{part}_labels"].tolist()
    return [
        (label, joined[start:end])
        for label, start, end in zip(labels, ends[:-1], ends[1:], strict=True)
    ]


def _read_archive(path: Path) -> tuple[Files, Files]:
    """Folders of classes to train on; one folder and a list of classes to test on."""
    labels = {wordnet: label for label, wordnet in enumerate(CLASSES)}
    with zipfile.ZipFile(path) as archive:
        train = []
        for member in archive.namelist():
            match member.split("/"):
                case [_, "train", wordnet, "images", file] if wordnet in labels and file:
                    train.append((labels[wordnet], _member(archive, member)))
        listed = _member(archive, f"{_FOLDER}/val/val_annotations.txt").decode()
        test = []
        for line in listed.splitlines():
            file, wordnet, *_ = line.split("\t")
            if wordnet in labels:
                test.append((labels[wordnet], _member(archive, f"{_FOLDER}/val/images/{file}")))
    return train, test


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MEMBER_LIMIT_BYTES:
        raise ValueError(f"{name} is larger than {MEMBER_LIMIT_BYTES} bytes")
    return archive.read(name)


def _decode(files: Files, part: str, sha256: str) -> tuple[Bytes, Bytes]:
    """Pictures and labels, in an order that shows nothing. Raises ValueError for other files than
    the known ones.
    """
    ordered = sorted((bytes([label]) + hashlib.sha256(file).digest(), file)
                     for label, file in files)  # fmt: skip
    found = hashlib.sha256(b"".join(key for key, _ in ordered)).hexdigest()
    if found != sha256:
        raise ValueError(f"{part} have sha256 {found}, expected {sha256}")
    ordered.sort(key=lambda one: hashlib.sha256(one[0]).digest())
    pictures = np.empty((len(ordered), SIZE_PX, SIZE_PX, 3), np.uint8)
    for row, (_, file) in enumerate(ordered):
        with Image.open(io.BytesIO(file)) as picture:
            pictures[row] = np.asarray(picture.convert("RGB"))
    return pictures, np.array([key[0] for key, _ in ordered], np.uint8)
