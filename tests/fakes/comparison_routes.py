"""A finished comparison of tiny random nets: the route of each candidate."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from benchmarks.compare.measuring.candidates import CANDIDATES, seed_folder
from harness.small_cnn import MACS, SIZE, build_small_cnn
from harness.tiny_routes import make_pictures
from training.data.sets import DataSet, Source, Split
from training.export.route_writer import RouteDraft, StageFiles, write_route

DATA = "noise"  # no data set's name: it has no other set whose pictures are unrelated
STAGES = {"branchynet": 2, "dual": 2, "light-full": 2, "cbnet-gated": 3}
LABELS = tuple("0123456789")


def make_data(rows: int) -> DataSet:
    """Noise with labels of no meaning."""
    pictures = make_pictures(rows, seed=5)
    labels = np.random.default_rng(6).integers(0, len(LABELS), rows)
    split = Split(pictures, labels.astype(np.int64))
    source = Source(url="", sha256={}, labels=LABELS, mean=(0.5,), std=(0.3,))
    return DataSet(DATA, source, split, split, split, "0" * 64)


def make_squares(rows: int, seed: int) -> Split:
    """Four classes that are learnt in seconds: which corner of the noise is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, rows)
    pictures = rng.integers(0, 60, (rows, SIZE, SIZE))
    for picture, label in zip(pictures, labels, strict=True):
        top, left = 3 + 13 * (label // 2), 3 + 13 * (label % 2)
        picture[top : top + 9, left : left + 9] += 150
    return Split(pictures.astype(np.uint8), labels.astype(np.int64))


def write_contest(runs: Path, seed: int, names: Sequence[str] = tuple(CANDIDATES)) -> None:
    for place, name in enumerate(names):
        write_candidate(runs, seed, name, STAGES.get(name, 1), first=10 * seed + place)


def write_candidate(runs: Path, seed: int, name: str, stages: int, first: int) -> Path:
    """Convolutional nets that leave a part of the pictures to the next one."""
    folder = seed_folder(runs, DATA, seed)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for index in range(stages):
        path = folder / f"{name}-{index}.onnx"
        onnx.save(build_small_cnn(seed=first + 1000 * index), path)
        threshold = 0.98 if index < stages - 1 else None
        files.append(StageFiles(f"stage{index}", path, {}, MACS, 1.0, threshold))
    draft = RouteDraft(
        route=f"{DATA}-{name}",
        task="classify-noise",
        pipeline="dual-cnn" if stages > 1 else "single",
        description="random weights",
        expected_macs=float(MACS),
        shape=(SIZE, SIZE),
        labels=LABELS,
        stages=files,
        options={"score": "max_probability", "combine": "last"},
        provenance={"recipe": "random weights", "epochs": 4},
    )
    return write_route(folder / "models", draft)
