"""One budget for every net: seeded, resumable, with exits, with teachers."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from training.choosing.replay import accuracy
from training.data.sets import DataSet
from training.fitting.budget import TEMPERATURE, distillation, job
from training.fitting.loop import is_finished, train
from training.nets.exit_net import ExitNet
from training.nets.predicting import predict


def two_exits(seed: int = 1) -> ExitNet:
    torch.manual_seed(seed)
    return ExitNet(
        [
            nn.Sequential(nn.Conv2d(1, 8, 3, 4), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 8, 3, 2), nn.ReLU()),
        ],
        [
            nn.Sequential(nn.Flatten(), nn.Linear(392, 4)),
            nn.Sequential(nn.Flatten(), nn.Linear(72, 4)),
        ],
    )


class Interrupted(Exception):
    pass


def stop_after_first(line: dict[str, object]) -> None:
    if line["epoch"] == 1:
        raise Interrupted


def ignore(line: dict[str, object]) -> None:
    pass


def test_every_exit_learns(tiny_data: DataSet, tmp_path: Path) -> None:
    net = two_exits()
    labels = tiny_data.held_out.labels
    before = [accuracy(one, labels) for one in predict(net, tiny_data.held_out.pictures)]
    train(job("two", net, tiny_data, seed=1, epochs=12, weights=(1.0, 1.0)), tmp_path, ignore)
    after = [accuracy(one, labels) for one in predict(net, tiny_data.held_out.pictures)]
    assert all(late > early + 0.2 for early, late in zip(before, after, strict=True))


def test_an_exit_without_weight_learns_nothing(tiny_data: DataSet, tmp_path: Path) -> None:
    net = two_exits()
    first = net.heads[0][1].weight.clone()  # type: ignore[index]
    learning = job("two", net, tiny_data, seed=1, epochs=1, weights=(0.0, 1.0))
    for group in learning.optimizer.param_groups:
        group["weight_decay"] = 0.0
    train(learning, tmp_path, ignore)
    assert torch.equal(net.heads[0][1].weight, first)  # type: ignore[index]


@pytest.mark.parametrize("self_distillation", [False, True])
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(
    tiny_data: DataSet, tmp_path: Path, self_distillation: bool
) -> None:
    teacher = np.random.default_rng(0).normal(size=(768, 4)).astype(np.float32)

    def learn(folder: Path, stop: bool) -> dict[str, torch.Tensor]:
        learning = job(
            "two",
            two_exits(),
            tiny_data,
            seed=1,
            epochs=2,
            weights=(0.5, 1.0),
            teacher=None if self_distillation else teacher,
            self_distillation=self_distillation,
        )
        train(learning, folder, stop_after_first if stop else ignore)
        return load_file(folder / "two.safetensors")

    whole = learn(tmp_path / "whole", stop=False)
    with pytest.raises(Interrupted):
        learn(tmp_path / "resumed", stop=True)
    resumed = learn(tmp_path / "resumed", stop=False)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_is_refused_when_anything_that_decides_the_weights_differs(
    tiny_data: DataSet, tmp_path: Path
) -> None:
    teacher = np.zeros((768, 4), np.float32)
    train(job("two", two_exits(), tiny_data, seed=1, epochs=1, weights=(1, 1)), tmp_path, ignore)
    for other in (
        job("two", two_exits(), tiny_data, seed=1, epochs=1, weights=(1, 0.3)),
        job("two", two_exits(), tiny_data, seed=1, epochs=1, weights=(1, 1), teacher=teacher),
        job("two", two_exits(), tiny_data, seed=1, epochs=1, weights=(1, 1), recipe="warm"),
        job("two", two_exits(), tiny_data, seed=2, epochs=1, weights=(1, 1)),
    ):
        with pytest.raises(ValueError, match="made by another recipe"):
            train(other, tmp_path, ignore)


def test_a_damaged_checkpoint_is_named_in_one_sentence(tiny_data: DataSet, tmp_path: Path) -> None:
    path = tmp_path / "two.checkpoint.safetensors"
    path.write_bytes(b"not weights")
    learning = job("two", two_exits(), tiny_data, seed=1, epochs=1, weights=(1.0, 1.0))
    with pytest.raises(ValueError, match=re.escape(f"{path} is damaged")):
        train(learning, tmp_path, ignore)


def test_a_net_with_half_a_summary_is_not_finished(tiny_data: DataSet, tmp_path: Path) -> None:
    learning = job("two", two_exits(), tiny_data, seed=1, epochs=1, weights=(1.0, 1.0))
    train(learning, tmp_path, ignore)
    assert is_finished("two", tmp_path, learning.recipe)
    (tmp_path / "two.json").write_text('{"net": ')
    assert not is_finished("two", tmp_path, learning.recipe)


def test_a_teachers_answers_pull_a_net_towards_them() -> None:
    labels = torch.tensor([0])
    teacher = torch.tensor([[2.0, 1.0, -3.0]])
    alike, unlike = torch.tensor([[2.0, 1.0, -3.0]]), torch.tensor([[2.0, -3.0, 1.0]])
    assert distillation(alike, labels, teacher) < distillation(unlike, labels, teacher)
    hard = nn.functional.cross_entropy(alike, labels)
    assert torch.allclose(distillation(alike, labels, teacher), hard / 2)
    assert TEMPERATURE == 4.0
