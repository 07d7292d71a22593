"""What stands before a frozen classifier learns from corrupted pictures, and leaves it as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from studies.converters.frozen import (
    AS_IT_IS,
    CLEANED,
    CONVERTED,
    RETRAINED,
    VARIANTS,
    frozen_file,
    is_trained,
)
from studies.converters.nets import NETS
from studies.converters.train_frozen import FROZEN, make_jobs, train_frozen
from tests.fakes.comparison_routes import DATA, make_squares
from training.data.sets import DataSet, Source
from training.export.converters import export_classifier
from training.gated.experiment import Experiment, train_net
from training.gated.nets import make_targets

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def squares() -> DataSet:
    source = Source(url="", sha256={}, labels=("a", "b", "c", "d"), mean=(0.2,), std=(0.2,))
    train, held_out, test = (make_squares(rows, seed) for seed, rows in enumerate((768, 200, 200)))
    return DataSet(DATA, source, train, held_out, test, "0" * 64)


@pytest.fixture(scope="module")
def experiment(squares: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A contest as far as the frozen classifier's company needs it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("seed1")
    experiment = Experiment(squares, folder, 1, 4, NETS)
    for name in ("lenet", "branchynet", FROZEN):
        train_net(experiment, name, lambda _: None)
    export_classifier(experiment.load(FROZEN), folder / f"{FROZEN}.onnx", experiment.size)
    return replace(experiment, epochs=2)


def test_targets_are_easy_or_clean_and_pictures_are_corrupted(experiment: Experiment) -> None:
    jobs = make_jobs(experiment, make_targets(experiment, "clusters"))
    batches = {
        variant: next(iter(job.batches(np.random.default_rng(3)))) for variant, job in jobs.items()
    }
    corrupted, clean, _ = batches[CLEANED]
    assert 0.5 < float((corrupted != clean).flatten(1).any(1).float().mean()) < 1.0
    easy = {picture.tobytes() for picture in experiment.data.train.pictures}
    assert all(one.numpy().tobytes() in easy for one in batches[CONVERTED][1])
    pictures, labels = batches[RETRAINED]
    assert len(pictures) == len(labels) == 128


def test_all_are_trained_once_and_the_frozen_net_stays_as_it_is(experiment: Experiment) -> None:
    folder, data = experiment.folder, experiment.data
    assert not is_trained(folder)
    train_frozen(data, folder, 1, 2, QUIET)
    assert is_trained(folder)
    before = {variant: frozen_file(folder, variant).read_bytes() for variant in VARIANTS}
    assert before[AS_IT_IS] == (experiment.folder / f"{FROZEN}.onnx").read_bytes()
    frozen = experiment.load(FROZEN).state_dict()
    for name in ("converts", "guides", "cleans"):
        trained = load_file(experiment.folder / "frozen" / f"{name}.safetensors")
        assert all(torch.equal(frozen[one], trained[f"classifier.{one}"]) for one in frozen)
    stamps = [path.stat().st_mtime_ns for path in experiment.folder.glob("frozen/*.safetensors")]
    train_frozen(data, folder, 1, 2, QUIET)
    assert [p.stat().st_mtime_ns for p in experiment.folder.glob("frozen/*.safetensors")] == stamps


def test_without_the_contest_the_missing_net_is_named(squares: DataSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no net light, which is to be frozen"):
        train_frozen(squares, tmp_path, 1, 1, QUIET)
