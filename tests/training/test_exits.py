"""Exits on any net: the same answers when served, thresholds that keep accuracy, whole routes."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from core.devices.onnx import OnnxDevice
from core.manifest import read_manifest
from routes.loading import load_route
from routes.offline import run_offline
from training import exits as recipe
from training.choosing.exit_thresholds import choose_plan, papers_plan
from training.choosing.replay import accuracy, replay
from training.data.sets import DataSet
from training.export.cost import count_macs
from training.export.exit_route import Options
from training.export.exits import check_segments, export_segments
from training.fitting.budget import job
from training.fitting.in_process import learn
from training.nets.building import build_net
from training.nets.exit_backbone import ExitSpec, add_exits, check_places, choose_places
from training.nets.exit_net import ExitNet
from training.nets.lenet import branchynet, lenet, truncated
from training.nets.pools import POOLS, Conv, NetSpec
from training.nets.predicting import predict

TINY = NetSpec("tiny", (Conv(8, 2), Conv(8), Conv(16, 2)), 2, erase=False)

# Weights are held to the bit. Logits of one net computed twice are not: torch chooses a kernel by
# memory layout and CPU, and kernels add up in different orders.
assert_close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)


def quiet() -> Console:
    return Console(file=io.StringIO())


def export(net: ExitNet, folder: Path, shape: Sequence[int] = (28, 28)) -> list[Path]:
    paths = [folder / f"exit-{index}.onnx" for index in range(len(net.heads))]
    export_segments(net, paths, shape)
    return paths


@pytest.mark.parametrize("spec", [spec for pool in POOLS.values() for spec in pool], ids=str)
def test_every_registered_net_has_places_for_exits(spec: NetSpec) -> None:
    assert check_places(spec, choose_places(spec)) == choose_places(spec)


@pytest.mark.parametrize("after", [(), (0,), (3,), (2, 1), (1, 1), (1, 2, 3)])
def test_an_exit_that_cannot_be_is_refused_in_a_sentence(after: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"rising numbers from 1 to 2 are allowed"):
        check_places(TINY, after)


def test_exits_leave_the_net_they_are_on_as_it_was(tiny_data: DataSet, tmp_path: Path) -> None:
    torch.manual_seed(1)
    alone = build_net(TINY, tiny_data)
    save_file(alone.state_dict(), tmp_path / "tiny.safetensors")
    net = add_exits(ExitSpec(TINY, (1, 2)), tiny_data, trained=tmp_path / "tiny.safetensors")
    *_, last = predict(net, tiny_data.test.pictures)
    assert_close(last, predict(alone, tiny_data.test.pictures)[0])


def test_a_frozen_trunk_stays_to_the_bit_and_its_exits_learn(
    tiny_data: DataSet, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    save_file(build_net(TINY, tiny_data).state_dict(), tmp_path / "tiny.safetensors")
    net = add_exits(
        ExitSpec(TINY, (1,)), tiny_data, trained=tmp_path / "tiny.safetensors", frozen=True
    )
    kept = torch.nn.ModuleList([*net.segments, net.heads[-1]])
    weights = {name: value.clone() for name, value in kept.state_dict().items()}
    before = predict(net, tiny_data.held_out.pictures)
    learning = job("tiny", net, tiny_data, seed=1, epochs=8, weights=(1.0, 1.0))
    learn(learning, tmp_path, quiet())
    after = predict(net, tiny_data.held_out.pictures)
    assert all(torch.equal(weights[name], value) for name, value in kept.state_dict().items())
    assert_close(before[-1], after[-1])
    labels = tiny_data.held_out.labels
    assert accuracy(after[0], labels) > accuracy(before[0], labels) + 0.2


def test_weights_of_another_net_are_refused_in_a_sentence(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    save_file(build_net(tiny_pool[0], tiny_data).state_dict(), other)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    for path in (other, broken, tmp_path / "absent"):
        with pytest.raises(ValueError, match="has no weights of tiny"):
            add_exits(ExitSpec(TINY, (1,)), tiny_data, trained=path)


def test_segments_answer_as_torch_does(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    net = add_exits(ExitSpec(tiny_pool[2], (1, 2)), tiny_data).train()
    with torch.no_grad():  # batch norms have something to fold
        net(torch.from_numpy(tiny_data.train.pictures[:64]))
    paths = export(net, tmp_path)
    assert check_segments(net, paths, tiny_data.test.pictures) < 1e-4
    with torch.no_grad():
        net.heads[1][-1].bias.add_(0.01)  # type: ignore[index]
    with pytest.raises(ValueError, match=r"differ from torch's by 0\.01"):
        check_segments(net, paths, tiny_data.test.pictures)


def test_segments_of_a_colour_net_answer_as_torch_does(
    colour_data: DataSet, colour_spec: NetSpec, tmp_path: Path
) -> None:
    net = add_exits(ExitSpec(colour_spec, (1, 3)), colour_data)
    paths = export(net, tmp_path, (28, 28, 3))
    assert check_segments(net, paths, colour_data.test.pictures) < 1e-3


def test_the_papers_net_costs_what_the_papers_say(tmp_path: Path) -> None:
    branchy = branchynet()
    (main,) = export(lenet(), tmp_path)
    assert count_macs(main) == 1_140_070
    (light,) = export(truncated(branchy), tmp_path)
    assert count_macs(light) == 220_150
    first, second = (count_macs(path) for path in export(branchy, tmp_path))
    assert first == 220_150
    assert second == 1_140_070 - 112_500


def test_chosen_thresholds_lose_no_more_than_allowed_and_save_the_most_work() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 2000)
    sure = rng.uniform(0, 6, 2000)

    def logits(skill: float) -> np.ndarray:
        given = rng.normal(size=(2000, 4))
        given[np.arange(2000), labels] += skill * sure
        return given.astype(np.float32)

    exits = [logits(0.7), logits(2.0)]
    found = []
    for max_loss in (0.0, 0.01, 0.05):
        plan = choose_plan(exits, labels, (10, 90), max_loss=max_loss)
        played = replay(exits, labels, plan)
        assert played.accuracy >= accuracy(exits[-1], labels) - max_loss - 1e-9
        found.append(played.mean((10, 90)))
    assert found == sorted(found, reverse=True)
    assert found[-1] < 60  # of 100 for all the way


def test_the_papers_thresholds_are_entropy_in_nats() -> None:
    plan = papers_plan([0.5], 10)
    certain, even = np.zeros((1, 10), np.float32), np.zeros((1, 10), np.float32)
    certain[0, 3] = 20.0
    for logits, reached in ((certain, 0.0), (even, 1.0)):
        played = replay([logits, certain], np.array([3]), plan)
        assert played.reached == (1.0, reached)


@pytest.fixture
def here(tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """The made-up data set under a real one's name, so that the recipe finds it."""
    data = replace(tiny_data, name="fashion-mnist")
    monkeypatch.setattr(recipe, "load_data", lambda name: data)
    monkeypatch.setitem(POOLS, "fashion-mnist", (TINY,))
    return data


def test_the_route_answers_as_it_was_judged(here: DataSet, tmp_path: Path) -> None:
    options = Options(net="tiny", after=(1, 2), self_distillation=True, max_loss=0.02)
    directory = recipe.train(
        "fashion-mnist", tmp_path, tmp_path / "runs", options=options, epochs=6, console=quiet()
    )
    assert directory == tmp_path / "fashion-mnist-exits" / "1"
    manifest = read_manifest(directory)
    assert [stage.name for stage in manifest.stages] == ["exit-1", "exit-2", "exit-3"]
    pipeline = load_route(directory, OnnxDevice()).pipeline
    rows = run_offline(pipeline, {"image": here.test.pictures}, OnnxDevice())
    answers = [row.outcome for row in rows if row.outcome is not None]
    labels = [int(answer.outputs["label"]) for answer in answers]
    right = float((np.array(labels) == here.test.labels).mean())
    assert right == pytest.approx(manifest.provenance["test_accuracy"])
    ends = [answer.exit for answer in answers]
    assert np.mean([end != "exit-1" for end in ends]) == pytest.approx(
        manifest.provenance["reached_on_test"][1]
    )


def test_training_again_keeps_what_is_finished_and_writes_the_next_version(
    here: DataSet, tmp_path: Path
) -> None:
    options = Options(net="lenet", papers_thresholds=True)

    def train() -> Path:
        return recipe.train(
            "fashion-mnist", tmp_path, tmp_path / "runs", options=options, epochs=1, console=quiet()
        )

    first = train()
    made = (tmp_path / "runs" / "lenet-exits.safetensors").stat().st_mtime_ns
    second = train()
    assert (first.name, second.name) == ("1", "2")
    assert (tmp_path / "runs" / "lenet-exits.safetensors").stat().st_mtime_ns == made
    weights = [(path / "exit-2.onnx").read_bytes() for path in (first, second)]
    assert weights[0] == weights[1]
    assert read_manifest(first).stages[0].temperature == 1.0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(net="absent"), "no net named 'absent'"),
        (Options(net="tiny", frozen=True), "frozen trunk needs trained weights"),
        (Options(net="tiny", weights=(1.0,)), "3 are needed"),
        (Options(net="tiny", weights=(0.0, 0.0, 0.0)), "3 are needed"),
        (Options(net="tiny", weights=(1.0, math.nan, 1.0)), "3 are needed"),
        (Options(net="tiny", max_loss=math.nan), "0 to 1 allowed"),
        (Options(net="tiny", papers_thresholds=True), "the papers have thresholds for lenet"),
        (Options(net="lenet", weights=(1.0,)), "2 are needed"),
        (Options(net="lenet", after=(1,)), "has the papers' exit"),
        (Options(net="tiny", trained=Path("absent")), "absent has no weights of tiny"),
    ],
)
def test_options_that_cannot_be_are_one_sentence(
    here: DataSet, tmp_path: Path, options: Options, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        recipe.train("fashion-mnist", tmp_path, tmp_path, options=options, epochs=1)
