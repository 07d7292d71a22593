"""Every baseline learns from the trained net, resumes, and is judged with its MACs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.tiny_training import quiet
from tokens.acm.network import count_dense
from tokens.vision_transformer import VisionTransformer
from training.data.sets import DataSet
from training.token_baselines.__main__ import prepare, train
from training.token_baselines.judging import SHARES, judge
from training.token_baselines.methods import DENSE, MERGED, METHODS
from training.token_baselines.setting import Setting


@pytest.fixture
def setting(tmp_path: Path, dense: VisionTransformer, few: DataSet) -> Setting:
    path = tmp_path / "vit.safetensors"
    save_file(dense.state_dict(), path)
    return prepare(few, dense.spec, path, None, seed=1)


def test_every_baseline_is_trained_once_and_kept(tmp_path: Path, setting: Setting) -> None:
    epochs = dict.fromkeys(METHODS, 1)
    train(setting, tmp_path, epochs, quiet())
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert {f"{name}.safetensors" for name in METHODS} <= {path.name for path in stamps}
    train(setting, tmp_path, epochs, quiet())
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    with pytest.raises(ValueError, match="another recipe"):
        train(setting, tmp_path, {DENSE: 2}, quiet())


@pytest.mark.parametrize("name", METHODS)
def test_a_baseline_learns(setting: Setting, name: str) -> None:
    job = METHODS[name].make_job(setting, name, 1)
    batch = next(job.batches(np.random.default_rng(0)))
    losses = []
    for group in job.optimizer.param_groups:
        group["lr"] = 3e-3
    for _ in range(8):
        torch.manual_seed(0)  # merging draws how many
        loss = job.loss(*batch)
        job.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        job.optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_a_baseline_has_points_of_rising_cost(setting: Setting) -> None:
    data = setting.data
    for name, method in METHODS.items():
        torch.manual_seed(0)
        points = judge(method.build(setting.dense), data.held_out, data.test)
        assert all(len(one.hits) == len(data.test.labels) for one in points)
        macs = [one.macs for one in points]
        if name == "merging":
            assert len(points) == len(MERGED)
            macs = macs[::-1]
        elif name.startswith("exits"):
            assert 1 <= len(points) <= len(SHARES)
        else:
            assert len(points) == 1
        assert macs == sorted(macs)
        assert macs[0] <= 1.1 * count_dense(setting.dense.spec)


def test_the_threshold_of_exits_is_chosen_on_held_out_pictures(setting: Setting) -> None:
    torch.manual_seed(0)
    net = METHODS["exits-frozen"].build(setting.dense)
    held_out, test = setting.data.held_out, setting.data.test
    first = judge(net, held_out, test)
    other = replace(test, pictures=255 - test.pictures)
    again = judge(net, held_out, other)
    assert [one.at for one in first] == [one.at for one in again]
