"""Data sets as verified numpy arrays, always with the same split into train, held-out and test."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.cifar import PARTS, read_cifar
from training.data.idx import STEMS, read_idx
from training.data.tiny_imagenet import CLASSES, read_tiny_imagenet
from training.data.tiny_imagenet import PARTS as TINY_PARTS

HELD_OUT_ROWS = 5_000

Bytes = npt.NDArray[np.uint8]
# (name, url, sha256) -> pictures and labels to train on, pictures and labels to test on
Reader = Callable[[str, str, Mapping[str, str]], tuple[Bytes, Bytes, Bytes, Bytes]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set comes from and what it must contain."""

    url: str
    sha256: dict[str, str]  # part -> hash of its decoded bytes
    labels: tuple[str, ...]
    mean: tuple[float, ...]  # of the training pixels in [0, 1], by channel
    std: tuple[float, ...]
    read: Reader = read_idx
    held_out_rows: int = HELD_OUT_ROWS


SOURCES: dict[str, Source] = {
    "fashion-mnist": Source(
        url="https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        sha256=dict(
            zip(
                STEMS,
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
        mean=(0.2860,),
        std=(0.3530,),
    ),
    "mnist": Source(
        url="https://ossci-datasets.s3.amazonaws.com/mnist",
        sha256=dict(
            zip(
                STEMS,
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
        mean=(0.1307,),
        std=(0.3081,),
    ),
    "cifar10": Source(
        url="https://www.cs.toronto.edu/~kriz",
        sha256=dict(
            zip(
                PARTS,
                (
                    "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
                    "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
                    "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
                    "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
                ),
                strict=True,
            )
        ),
        labels=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        read=read_cifar,
    ),
    "tiny-imagenet-30": Source(
        url="http://cs231n.stanford.edu",  # no https there; the content is verified
        sha256=dict(
            zip(
                TINY_PARTS,
                (
                    "3133bf85f31eb882ee84dff5acdcf799cca0b428a284ebc627040853b430dada",
                    "8daad2ca934ed1bfee4720618377d447f5c51131b19267d2a6f5dc76e34a4a64",
                ),
                strict=True,
            )
        ),
        labels=tuple(CLASSES.values()),
        mean=(0.4730, 0.4361, 0.3934),
        std=(0.2817, 0.2701, 0.2852),
        read=read_tiny_imagenet,
        held_out_rows=1_500,
    ),
}


@dataclass(frozen=True, slots=True)
class Split:
    """uint8 pictures, grey [N, H, W] or colour [N, H, W, 3], and int64 labels [N]."""

    pictures: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DataSet:
    """`held_out` is a part of the official training set, chosen with a fixed seed; `test` is the
    official test set."""

    name: str
    source: Source
    train: Split
    held_out: Split
    test: Split
    identity: str  # sha256 over the parts' hashes: what provenance and certificates name


def load_data(name: str) -> DataSet:
    """Read, verify and split a data set. Raises ValueError for an unknown name or damaged files."""
    source = SOURCES.get(name)
    if source is None:
        raise ValueError(f"unknown data set {name!r}; there are {sorted(SOURCES)}")
    train_x, train_y, test_x, test_y = source.read(name, source.url, source.sha256)
    order = np.random.default_rng(20240607).permutation(len(train_x))
    rows = source.held_out_rows
    held_out, train = np.sort(order[:rows]), np.sort(order[rows:])
    identity = hashlib.sha256("".join(source.sha256.values()).encode()).hexdigest()
    labels = train_y.astype(np.int64)
    return DataSet(
        name=name,
        source=source,
        train=Split(train_x[train], labels[train]),
        held_out=Split(train_x[held_out], labels[held_out]),
        test=Split(test_x, test_y.astype(np.int64)),
        identity=identity,
    )
