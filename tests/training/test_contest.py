"""The contest on made-up pictures: every net, every route, served as it was judged."""

import inspect
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from core.devices import CpuDevice
from core.manifest import read_manifest
from routes.offline import run_offline
from routes.table import PIPELINES
from sparing.train_cbnet_command import train_cbnet
from training import cbnet
from training.cbnet import draw_conversions, ship, train
from training.contest import CONTESTANTS, open_studio, write_routes
from training.contest_nets import NETS, Studio, train_net
from training.data.sets import DataSet, Split
from training.export.cost import count_macs
from training.export.route_reader import read_draft
from training.nets.predicting import predict
from training.own_converter import Wishes

EPOCHS = 12  # of six steps


def cost_of_macs(path: Path, batches: Sequence[int]) -> dict[int, float]:
    return dict.fromkeys(batches, count_macs(path) / 1e4)


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def studio(tiny_data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    made = Studio(tiny_data, tmp_path_factory.mktemp("contest"), 1, EPOCHS)
    for name in NETS:
        train_net(made, name, lambda line: None)
    return made


@pytest.fixture(scope="module")
def routes(studio: Studio) -> Mapping[str, Path]:
    return write_routes(studio, quiet(), cost_of_macs)


def test_every_contestant_is_a_route_of_its_kind(routes: Mapping[str, Path]) -> None:
    assert tuple(routes) == CONTESTANTS
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


@pytest.mark.parametrize("name", CONTESTANTS)
def test_a_route_answers_as_accurately_as_it_says(
    name: str, routes: Mapping[str, Path], studio: Studio
) -> None:
    manifest = read_manifest(routes[name])
    pipeline = PIPELINES[manifest.pipeline](routes[name], CpuDevice())
    for part in ("held_out", "test"):
        split: Split = getattr(studio.data, part)
        rows = run_offline(pipeline, {"image": split.pictures}, CpuDevice())
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
    studio: Studio, routes: Mapping[str, Path], tmp_path: Path
) -> None:
    data = studio.data
    shuffled = replace(data.test, labels=np.roll(data.test.labels, 1))
    folder = tmp_path / "other"
    folder.mkdir()
    for path in studio.folder.glob("*.[js]*"):
        (folder / path.name).write_bytes(path.read_bytes())
    other = replace(studio, data=replace(data, test=shuffled), folder=folder)
    for name, path in write_routes(other, quiet(), cost_of_macs).items():
        decided = [read_manifest(one) for one in (path, routes[name])]
        left, right = (one.model_copy(update={"provenance": {}, "digest": b""}) for one in decided)
        assert left == right, name


def test_routes_are_kept_and_written_anew_when_a_net_changed(
    studio: Studio, routes: Mapping[str, Path]
) -> None:
    def refuse(path: Path, batches: Sequence[int]) -> Mapping[int, float]:
        raise AssertionError("nothing is measured again")

    assert write_routes(studio, quiet(), refuse) == routes
    weights = studio.folder / "small.safetensors"
    before = weights.read_bytes()
    weights.write_bytes((studio.folder / "small.checkpoint.safetensors").read_bytes())
    try:
        with pytest.raises(RuntimeError, match=r"size mismatch|Unexpected key"):
            write_routes(studio, quiet(), refuse)
    finally:
        weights.write_bytes(before)


def test_finished_nets_are_kept_and_those_of_another_recipe_refused(studio: Studio) -> None:
    assert all(studio.is_finished(name) for name in NETS)
    for other in (replace(studio, seed=2), replace(studio, epochs=EPOCHS + 1)):
        with pytest.raises(ValueError, match=r"lenet.json is of another recipe; delete it"):
            other.is_finished("lenet")
    assert not replace(studio, folder=studio.folder / "nowhere").is_finished("lenet")


def test_what_a_net_builds_on_is_listed_before_it() -> None:
    seen: set[str] = set()
    for name, made in NETS.items():
        assert seen.issuperset(made.after), name
        seen.add(name)


def test_the_gated_route_is_shipped_under_the_data_sets_name(
    routes: Mapping[str, Path], tmp_path: Path
) -> None:
    shipped = read_manifest(ship(read_draft(routes["cbnet-gated"]), "squares-cbnet", tmp_path))
    contest = read_manifest(routes["cbnet-gated"])
    assert (shipped.route, shipped.version, shipped.task) == ("squares-cbnet", "1", "squares-cbnet")
    same = {"route": "", "task": "", "digest": b""}
    assert shipped.model_copy(update=same) == contest.model_copy(update=same)
    assert json.loads((tmp_path / "squares-cbnet/1/light.json").read_text())["recipe"]


def test_conversions_are_drawn(studio: Studio, tmp_path: Path) -> None:
    path = draw_conversions(studio, tmp_path / "img" / "squares-converted.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_converter_of_ones_own_is_trained_drawn_and_gated(
    studio: Studio, routes: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cbnet, "open_studio", lambda *others, **more: studio)
    monkeypatch.setattr(cbnet, "train_contest", lambda *others, **more: routes)
    wishes = Wishes(dense=True, targets="random", error="mse", activity=0.0, guide=0.0, tuned=True)
    before = {path: path.read_bytes() for path in studio.folder.glob("*.safetensors")}
    route = train("squares", tmp_path, studio.folder, epochs=EPOCHS, wishes=wishes)
    assert {path: path.read_bytes() for path in before} == before
    manifest = read_manifest(route)
    assert (manifest.route, manifest.pipeline) == ("squares-cbnet", "cbnet-gated")
    summary = json.loads((route / "convert.json").read_text())
    assert summary["net"] == f"{wishes.name}-tuned"
    for word in ("targets=random:", "error='mse'", "activity=0.0", "tuned after"):
        assert word in summary["recipe"]
    assert (studio.folder / f"squares-{wishes.name}.png").exists()
    pipeline = PIPELINES[manifest.pipeline](route, CpuDevice())
    rows = run_offline(pipeline, {"image": studio.data.test.pictures}, CpuDevice())
    answers = [int(row.outcome.outputs["label"]) for row in rows if row.outcome]
    accuracy = float(np.mean(np.array(answers) == studio.data.test.labels))
    assert accuracy == pytest.approx(manifest.provenance["test_accuracy"], abs=1e-9)


def test_a_command_without_wishes_has_the_contests() -> None:
    options = inspect.signature(train_cbnet).parameters
    given = {field.name: options[field.name].default for field in fields(Wishes)}
    assert Wishes(**given) == cbnet.CONTESTS


@pytest.mark.parametrize("wrong", [{"guide": math.nan}, {"activity": math.inf}])
def test_a_wish_that_is_no_number_is_refused_in_a_sentence(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a number from 0 on is needed"):
        Wishes(**wrong)  # type: ignore[arg-type]


def test_a_class_without_a_missed_picture_shows_none(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (logits,) = predict(studio.load("guided-converter"), studio.data.held_out.pictures)
    missed = logits.argmax(axis=1) != studio.data.held_out.labels
    assert missed.any()
    keep = ~(missed & (studio.data.held_out.labels == 1))
    held_out = Split(*(part[keep] for part in asdict(studio.data.held_out).values()))
    drawn: dict[str, np.ndarray] = {}
    monkeypatch.setattr(cbnet, "draw_pictures", lambda rows, *others: drawn.update(rows))
    draw_conversions(replace(studio, data=replace(studio.data, held_out=held_out)), tmp_path)
    for name in ("hard, missed", "converted "):
        shown = [not np.isnan(picture).any() for picture in drawn[name]]
        others = [(missed & (studio.data.held_out.labels == label)).any() for label in (0, 2, 3)]
        assert [shown[1], shown[0], *shown[2:]] == [False, *others]


@pytest.mark.data
@pytest.mark.skipif("SPARING_DATA" not in os.environ, reason="set SPARING_DATA to its folder")
def test_pictures_of_another_size_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("[32, 32, 3], the nets take 28 x 28 grey")):
        open_studio("cifar10", tmp_path, seed=1, epochs=1)


def test_data_for_which_no_contest_is_planned_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape("'cifar10' is planned; there are ['fashion-")):
        open_studio("cifar10", tmp_path, seed=1, epochs=None)
