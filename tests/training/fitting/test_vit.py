"""The recipe of the dense transformer: it learns, resumes, and takes a route's answers."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from harness.tiny_routes import write_route
from tests.tiny_training import quiet
from tokens.vision_transformer import VitSpec
from training.data.sets import DataSet
from training.fitting import vit
from training.fitting.in_process import learn
from training.fitting.loop import Job, train
from training.fitting.route_teacher import RouteTeacher


def tiny_spec(data: DataSet) -> VitSpec:
    return replace(vit.spec_for(data), width=16, layers=1, heads=2, hidden=32, stem=(4, 8, 8))


def make_job(data: DataSet, epochs: int, teacher: RouteTeacher | None = None) -> Job:
    return vit.make_job(tiny_spec(data), data, teacher, seed=1, epochs=epochs)


def test_its_loss_falls(tmp_path: Path, tiny_data: DataSet) -> None:
    lines: list[dict[str, object]] = []
    train(make_job(tiny_data, 3), tmp_path, lines.append)
    first, last = (float(str(lines[place]["loss"])) for place in (0, -1))
    assert last < first


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, tiny_data: DataSet
) -> None:
    whole = make_job(tiny_data, 2)
    train(whole, tmp_path / "whole", lambda line: None)

    class Stop(Exception):
        pass

    def interrupt(line: dict[str, object]) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(make_job(tiny_data, 2), tmp_path / "parts", interrupt)
    resumed = make_job(tiny_data, 2)
    train(resumed, tmp_path / "parts", lambda line: None)
    for name, value in whole.net.state_dict().items():
        torch.testing.assert_close(resumed.net.state_dict()[name], value, msg=name)


def test_a_routes_answers_change_what_is_learnt(tmp_path: Path, tiny_data: DataSet) -> None:
    labels = tuple(f"class {index}" for index in range(4))
    data = replace(tiny_data, source=replace(tiny_data.source, labels=labels))
    teacher = RouteTeacher(write_route(tmp_path, pipeline="single", stages=1, classes=4), data)
    job = make_job(data, 1, teacher)
    learn(job, tmp_path / "taught", quiet())
    learn(make_job(data, 1), tmp_path / "alone", quiet())
    taught, alone = (load_file(tmp_path / way / "vit.safetensors") for way in ("taught", "alone"))
    assert not torch.equal(taught["head.weight"], alone["head.weight"])
    with pytest.raises(ValueError, match="another recipe"):
        learn(job, tmp_path / "alone", quiet())


def test_without_a_terminal_progress_is_lines(tmp_path: Path, tiny_data: DataSet) -> None:
    written = io.StringIO()
    learn(make_job(tiny_data, 2), tmp_path, Console(file=written))
    lines = written.getvalue().splitlines()
    assert len(lines) == 2 * 6 + 2  # a line a step of six, and one an epoch
    assert lines[0].startswith("vit: 0.17 epochs, loss ")
    assert "s an epoch" in lines[0]
    assert lines[-1].startswith("vit: epoch 2 of 2, loss ")


def test_gradients_are_clipped(tmp_path: Path, tiny_data: DataSet) -> None:
    job = replace(
        make_job(tiny_data, 1), clip_norm=0.0, learning_rate=lambda epoch: 1e-3
    )  # a norm of 0 leaves decay alone
    before = job.net.get_parameter("head.bias").clone()
    train(job, tmp_path, lambda line: None)
    torch.testing.assert_close(job.net.get_parameter("head.bias"), before)
