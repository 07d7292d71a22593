"""What stands before a frozen classifier learns from corrupted pictures, and leaves it as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from benchmarks.compare_frozen import (
    AS_IT_IS,
    CLEANED,
    CONVERTED,
    RETRAINED,
    VARIANTS,
    frozen_file,
    is_trained,
    measure_frozen,
)
from benchmarks.compare_robust import make_trials
from benchmarks.contestants import seed_folder
from benchmarks.train_frozen import FROZEN, make_jobs, train_frozen
from core.devices import open_onnx
from tests.fakes.comparison_routes import DATA, make_squares
from training.contest_nets import Studio, choose_goals, train_net
from training.data.sets import DataSet, Source
from training.export.converters import export_classifier

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def squares() -> DataSet:
    source = Source(url="", sha256={}, labels=("a", "b", "c", "d"), mean=(0.2,), std=(0.2,))
    train, held_out, test = (make_squares(rows, seed) for seed, rows in enumerate((768, 200, 200)))
    return DataSet(DATA, source, train, held_out, test, "0" * 64)


@pytest.fixture(scope="module")
def studio(squares: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """A contest as far as the frozen classifier's company needs it."""
    torch.set_num_threads(1)
    folder = seed_folder(tmp_path_factory.mktemp("runs"), DATA, 1)
    studio = Studio(squares, folder, 1, 4)
    for name in ("lenet", "branchynet", FROZEN):
        train_net(studio, name, lambda _: None)
    export_classifier(studio.load(FROZEN), folder / f"{FROZEN}.onnx", studio.size)
    return replace(studio, epochs=2)


def test_targets_are_easy_or_clean_and_pictures_are_corrupted(studio: Studio) -> None:
    jobs = make_jobs(studio, choose_goals(studio, "clusters"))
    batches = {
        variant: next(iter(job.batches(np.random.default_rng(3)))) for variant, job in jobs.items()
    }
    corrupted, clean, _ = batches[CLEANED]
    assert 0.5 < float((corrupted != clean).flatten(1).any(1).float().mean()) < 1.0
    easy = {picture.tobytes() for picture in studio.data.train.pictures}
    assert all(one.numpy().tobytes() in easy for one in batches[CONVERTED][1])
    pictures, labels = batches[RETRAINED]
    assert len(pictures) == len(labels) == 128


def test_all_are_trained_once_and_the_frozen_net_stays_as_it_is(studio: Studio) -> None:
    runs, data = studio.folder.parents[1], studio.data
    assert not is_trained(runs, DATA, 1)
    train_frozen(data, runs, 1, 2, QUIET)
    assert is_trained(runs, DATA, 1)
    before = {variant: frozen_file(runs, DATA, 1, variant).read_bytes() for variant in VARIANTS}
    assert before[AS_IT_IS] == (studio.folder / f"{FROZEN}.onnx").read_bytes()
    frozen = studio.load(FROZEN).state_dict()
    for name in ("converts", "guides", "cleans"):
        trained = load_file(studio.folder / "frozen" / f"{name}.safetensors")
        assert all(torch.equal(frozen[one], trained[f"classifier.{one}"]) for one in frozen)
    stamps = [path.stat().st_mtime_ns for path in studio.folder.glob("frozen/*.safetensors")]
    train_frozen(data, runs, 1, 2, QUIET)
    assert [p.stat().st_mtime_ns for p in studio.folder.glob("frozen/*.safetensors")] == stamps

    trials = make_trials(data, 50)
    values = {s.metric: s.value for s in measure_frozen(runs, data, 1, AS_IT_IS, trials)}
    session = open_onnx(frozen_file(runs, DATA, 1, AS_IT_IS))
    (logits,) = session.run(["logits"], {"image": trials.corrupted["noise_3"]})
    assert values["corrupt_noise_3"] == pytest.approx(
        (logits.argmax(axis=1) == trials.labels).mean()
    )
    assert values["accuracy"] > 0.9
    assert values["macs"] > 100_000


def test_without_the_contest_the_missing_net_is_named(squares: DataSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no net light, which is to be frozen"):
        train_frozen(squares, tmp_path, 1, 1, QUIET)
