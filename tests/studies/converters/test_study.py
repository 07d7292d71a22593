"""The study on made-up pictures: every net, every route, served as it was judged."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.devices.onnx import OnnxDevice
from core.manifest import read_manifest
from routes.offline import run_offline
from routes.table import PIPELINES
from studies.converters.figure import draw_study
from studies.converters.nets import NETS
from studies.converters.study import CANDIDATES, open_study, write_routes
from tests.squares import make_squares_data
from tests.tiny_training import cost_of_macs, quiet
from training.data.sets import Split
from training.gated import nets as gated
from training.gated.experiment import Experiment, train_net

EPOCHS = 6  # of six steps


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    torch.set_num_threads(1)
    made = Experiment(make_squares_data(), tmp_path_factory.mktemp("study"), 1, EPOCHS, NETS)
    for name in NETS:
        train_net(made, name, lambda line: None)
    return made


@pytest.fixture(scope="module")
def routes(experiment: Experiment) -> Mapping[str, Path]:
    return write_routes(experiment, quiet(), cost_of_macs)


def test_every_candidate_is_a_route_of_its_kind(routes: Mapping[str, Path]) -> None:
    assert tuple(routes) == CANDIDATES
    kinds = {name: read_manifest(path).pipeline for name, path in routes.items()}
    special = {name: kind for name, kind in kinds.items() if kind != "single"}
    assert special == {
        "branchynet": "exits",
        "cbnet": "cbnet",
        "cbnet-gated": "cbnet-gated",
        "encoder-only": "encoder-only",
        "dual": "dual-cnn",
        "cbnet-dense": "cbnet",
        "light-full": "dual-cnn",
    }
    assert all(path.parent.name == f"squares-{name}" for name, path in routes.items())


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_route_answers_as_accurately_as_it_says(
    name: str, routes: Mapping[str, Path], experiment: Experiment
) -> None:
    manifest = read_manifest(routes[name])
    pipeline = PIPELINES[manifest.pipeline](routes[name], OnnxDevice())
    for part in ("held_out", "test"):
        split: Split = getattr(experiment.data, part)
        rows = run_offline(pipeline, {"image": split.pictures}, OnnxDevice())
        answers = [int(row.outcome.outputs["label"]) for row in rows if row.outcome]
        accuracy = float(np.mean(np.array(answers) == split.labels))
        assert accuracy == pytest.approx(manifest.provenance[f"{part}_accuracy"], abs=1e-9)
        if part == "held_out":
            macs = np.mean([row.macs for row in rows])
            assert macs == pytest.approx(manifest.expected_macs, abs=0.1)


def test_gated_route_and_cascade_keep_to_their_share_of_lenets_cost(
    routes: Mapping[str, Path],
) -> None:
    lenet = read_manifest(routes["lenet"]).expected_macs
    for name in ("cbnet-gated", "dual", "light-full"):
        assert read_manifest(routes[name]).expected_macs <= lenet / 6


def test_no_route_depends_on_test_labels(
    experiment: Experiment, routes: Mapping[str, Path], tmp_path: Path
) -> None:
    data = experiment.data
    shuffled = replace(data.test, labels=np.roll(data.test.labels, 1))
    folder = tmp_path / "other"
    folder.mkdir()
    for path in experiment.folder.glob("*.[js]*"):
        (folder / path.name).write_bytes(path.read_bytes())
    other = replace(experiment, data=replace(data, test=shuffled), folder=folder)
    for name, path in write_routes(other, quiet(), cost_of_macs).items():
        decided = [read_manifest(one) for one in (path, routes[name])]
        left, right = (one.model_copy(update={"provenance": {}, "digest": b""}) for one in decided)
        assert left == right, name


def test_routes_are_kept_and_written_anew_when_a_net_changed(
    experiment: Experiment, routes: Mapping[str, Path]
) -> None:
    def refuse(path: Path, batches: Sequence[int]) -> Mapping[int, float]:
        raise AssertionError("nothing is measured again")

    assert write_routes(experiment, quiet(), refuse) == routes
    weights = experiment.folder / "small.safetensors"
    before = weights.read_bytes()
    weights.write_bytes((experiment.folder / "small.checkpoint.safetensors").read_bytes())
    try:
        with pytest.raises(RuntimeError, match=r"size mismatch|Unexpected key"):
            write_routes(experiment, quiet(), refuse)
    finally:
        weights.write_bytes(before)


def test_finished_nets_are_kept_and_those_of_another_recipe_refused(
    experiment: Experiment,
) -> None:
    assert all(experiment.is_finished(name) for name in NETS)
    for other in (replace(experiment, seed=2), replace(experiment, epochs=EPOCHS + 1)):
        with pytest.raises(ValueError, match=r"lenet.json is of another recipe; delete it"):
            other.is_finished("lenet")
    assert not replace(experiment, folder=experiment.folder / "nowhere").is_finished("lenet")


def test_the_recipes_nets_are_the_studys_too(experiment: Experiment) -> None:
    """Both keep them in the same folder, so that each trains what the other has not."""
    recipes = replace(experiment, nets=gated.NETS)
    assert all(recipes.is_finished(name) for name in gated.NETS)


def test_what_a_net_builds_on_is_listed_before_it() -> None:
    seen: set[str] = set()
    for name, recipe in NETS.items():
        assert seen.issuperset(recipe.after), name
        seen.add(name)


def test_conversions_are_drawn(experiment: Experiment, tmp_path: Path) -> None:
    path = draw_study(experiment, tmp_path / "img" / "squares-converted.png")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.data
@pytest.mark.skipif("SPARING_DATA" not in os.environ, reason="set SPARING_DATA to its folder")
def test_pictures_of_another_size_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("[32, 32, 3], the nets take 28 x 28 grey")):
        open_study("cifar10", tmp_path, seed=1, epochs=1)


def test_data_without_a_number_of_epochs_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("'cifar10', only for ['fashion-")):
        open_study("cifar10", tmp_path, seed=1, epochs=None)
