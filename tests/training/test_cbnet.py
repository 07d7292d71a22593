"""The recipe on made-up pictures: the nets that it trains, and the route that it writes."""

import inspect
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from core.devices.onnx import OnnxDevice
from core.manifest import Manifest, read_manifest
from routes.offline import run_offline
from routes.table import PIPELINES
from sparing.commands.training.cbnet import train_cbnet
from tests.tiny_training import cost_of_macs
from training import cbnet
from training.cbnet import STANDARD, train
from training.data.sets import DataSet, Split
from training.gated import figure
from training.gated.experiment import Experiment, train_net
from training.gated.figure import draw_conversions, load_converter
from training.gated.nets import NETS
from training.gated.own_converter import ConverterOptions
from training.nets.predicting import predict

EPOCHS = 4  # of six steps
SHIPPED = {"light", "light-distilled", "encoder-only", "guided-converter", "full"}
NEEDED = {"lenet", "branchynet"}  # to tell easy pictures from hard ones, and as a measure of cost


@pytest.fixture(scope="module")
def experiment(tiny_data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return Experiment(tiny_data, tmp_path_factory.mktemp("cbnet"), 1, EPOCHS, NETS)


@pytest.fixture(scope="module")
def trained(experiment: Experiment) -> Iterator[list[str]]:
    """The recipe with this experiment; the names of the nets that it trained, in order.

    They are trained in this process: no other one could read the made-up data.
    """
    names: list[str] = []

    def train_here(given: Experiment, module: str, workers: int, console: Console) -> None:
        assert module == "training.gated.nets"
        for name in given.nets:
            if not given.is_finished(name):
                train_net(given, name, lambda line: None)
                names.append(name)

    def open_here(data: str, runs: Path, nets: object, **options: Any) -> Experiment:
        assert nets is NETS
        return experiment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cbnet, "train_nets", train_here)
        patch.setattr(cbnet, "open_experiment", open_here)
        yield names


@pytest.fixture(scope="module")
def route(
    trained: list[str], experiment: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("models")
    return train("squares", out, experiment.folder, measure=cost_of_macs)


def check_test_accuracy(route: Path, data: DataSet) -> Manifest:
    """The route, served, is as accurate as it says."""
    manifest = read_manifest(route)
    pipeline = PIPELINES[manifest.pipeline](route, OnnxDevice())
    rows = run_offline(pipeline, {"image": data.test.pictures}, OnnxDevice())
    answers = [int(row.outcome.outputs["label"]) for row in rows if row.outcome]
    accuracy = float(np.mean(np.array(answers) == data.test.labels))
    assert accuracy == pytest.approx(manifest.provenance["test_accuracy"], abs=1e-9)
    return manifest


def test_the_recipe_trains_what_its_route_needs_and_nothing_else(
    trained: list[str], route: Path, experiment: Experiment
) -> None:
    assert set(trained) == SHIPPED | NEEDED
    manifest = check_test_accuracy(route, experiment.data)
    assert (manifest.route, manifest.version) == ("squares-cbnet", "1")
    assert (manifest.task, manifest.pipeline) == ("squares-cbnet", "cbnet-gated")
    assert manifest.provenance["recipe"] == "training.cbnet"
    nets = [json.loads((route / f"{stage.name}.json").read_text()) for stage in manifest.stages]
    assert [net["net"] for net in nets] == [
        manifest.provenance["light"], "guided-converter", "full",
    ]  # fmt: skip
    assert (experiment.folder / "squares-converted.png").exists()
    assert not (experiment.folder / "models").exists()


def test_training_again_trains_no_net_and_writes_the_next_version(
    trained: list[str], route: Path, experiment: Experiment
) -> None:
    before = list(trained)
    again = train("squares", route.parents[1], experiment.folder, measure=cost_of_macs)
    assert trained == before
    assert again == route.parent / "2"
    same = {"version": "", "digest": b""}
    first, second = (read_manifest(one).model_copy(update=same) for one in (route, again))
    assert first == second


def test_a_converter_with_other_options_is_trained_drawn_and_gated(
    route: Path, experiment: Experiment, tmp_path: Path
) -> None:
    options = ConverterOptions(
        dense=True, targets="random", error="mse", activity=0.0, guide=0.0, tuned=True
    )
    before = {path: path.read_bytes() for path in experiment.folder.glob("*.safetensors")}
    other = train("squares", tmp_path, experiment.folder, options=options, measure=cost_of_macs)
    assert {path: path.read_bytes() for path in before} == before
    manifest = check_test_accuracy(other, experiment.data)
    assert (manifest.route, manifest.pipeline) == ("squares-cbnet", "cbnet-gated")
    summary = json.loads((other / "convert.json").read_text())
    assert summary["net"] == f"{options.name}-tuned"
    for word in ("targets=random:", "error='mse'", "activity=0.0", "tuned after"):
        assert word in summary["recipe"]
    assert (experiment.folder / f"squares-{options.name}.png").exists()


def test_the_commands_defaults_are_the_standard_converters() -> None:
    options = inspect.signature(train_cbnet).parameters
    given = {field.name: options[field.name].default for field in fields(ConverterOptions)}
    assert ConverterOptions(**given) == STANDARD


@pytest.mark.parametrize("wrong", [{"guide": math.nan}, {"activity": math.inf}])
def test_an_option_that_is_no_number_is_refused_in_a_sentence(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a number from 0 on is needed"):
        ConverterOptions(**wrong)  # type: ignore[arg-type]


def test_a_class_without_a_missed_picture_shows_none(
    route: Path, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = load_converter(experiment, "guided-converter")
    (logits,) = predict(net, experiment.data.held_out.pictures)
    missed = logits.argmax(axis=1) != experiment.data.held_out.labels
    assert missed.any()
    keep = ~(missed & (experiment.data.held_out.labels == 1))
    held_out = Split(*(part[keep] for part in asdict(experiment.data.held_out).values()))
    drawn: dict[str, np.ndarray] = {}
    monkeypatch.setattr(figure, "draw_pictures", lambda rows, *others: drawn.update(rows))
    fewer = replace(experiment, data=replace(experiment.data, held_out=held_out))
    draw_conversions(fewer, tmp_path, {"converted": net})
    for name in ("hard, missed", "converted "):
        shown = [not np.isnan(picture).any() for picture in drawn[name]]
        others = [
            (missed & (experiment.data.held_out.labels == label)).any() for label in (0, 2, 3)
        ]
        assert [shown[1], shown[0], *shown[2:]] == [False, *others]
