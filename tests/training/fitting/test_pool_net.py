"""Training is seeded, and an interruption leaves no trace in its result."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.data.sets import DataSet
from training.fitting.loop import learning_rate
from training.fitting.pool_net import fit
from training.nets.building import build_net
from training.nets.pools import NetSpec


class Interrupted(Exception):
    pass


def stop_after_first(line: dict[str, object]) -> None:
    if line["epoch"] == 1:
        raise Interrupted


def train(spec: NetSpec, data: DataSet, folder: Path, seed: int = 1) -> dict[str, torch.Tensor]:
    folder.mkdir(exist_ok=True)
    fit(spec, data, folder, seed=seed, epochs=2, report=lambda line: None)
    return load_file(folder / f"{spec.name}.safetensors")


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    spec = tiny_pool[2]
    whole = train(spec, tiny_data, tmp_path / "whole")
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    with pytest.raises(Interrupted):
        fit(spec, tiny_data, resumed, seed=1, epochs=2, report=stop_after_first)
    assert not (resumed / "tiny-3.json").exists()
    torch.manual_seed(99)  # whatever happened in between must not matter
    again = train(spec, tiny_data, resumed)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_whitened_pixels_are_uncorrelated_and_whitening_is_not_trained(
    colour_data: DataSet, colour_spec: NetSpec, tmp_path: Path
) -> None:
    before = build_net(colour_spec, colour_data)
    first = before.body[0]
    assert isinstance(first, torch.nn.Conv2d)
    with torch.no_grad():
        pictures = before.normalise(torch.from_numpy(colour_data.train.pictures))
        components = torch.nn.functional.conv2d(pictures, first.weight)[:, :12]
    values = components.transpose(0, 1).reshape(12, -1)
    covariance = torch.cov(values)
    assert torch.allclose(covariance, torch.diag(covariance.diagonal()), atol=0.02)
    after = train(colour_spec, colour_data, tmp_path)
    assert torch.equal(after["body.0.weight"], first.weight)
    assert first.bias is not None
    assert not torch.equal(after["body.0.bias"], first.bias)


def test_a_resumed_colour_training_ends_where_an_uninterrupted_one_does(
    colour_data: DataSet, colour_spec: NetSpec, tmp_path: Path
) -> None:
    whole = train(colour_spec, colour_data, tmp_path / "whole")
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    with pytest.raises(Interrupted):
        fit(colour_spec, colour_data, resumed, seed=1, epochs=2, report=stop_after_first)
    again = train(colour_spec, colour_data, resumed)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_the_seed_decides_the_weights(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    first, second, other = (
        train(tiny_pool[0], tiny_data, tmp_path / name, seed)["head.weight"]
        for name, seed in (("first", 1), ("second", 1), ("other", 2))
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_checkpoint_of_another_recipe_is_refused(
    tiny_data: DataSet, tiny_pool: tuple[NetSpec, ...], tmp_path: Path
) -> None:
    train(tiny_pool[0], tiny_data, tmp_path)
    with pytest.raises(ValueError, match="made by another recipe"):
        train(tiny_pool[0], tiny_data, tmp_path, seed=2)


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate(epoch, 20, peak=0.1, warm_up_epochs=2.0) for epoch in range(21)]
    assert rates[0] < rates[1] < rates[2] == max(rates)
    assert rates[20] == pytest.approx(0.0, abs=1e-9)
