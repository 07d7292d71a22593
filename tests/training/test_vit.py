"""The whole recipe on a tiny net: a route that a server loads, and weights that stay."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.devices.onnx import OnnxDevice
from core.manifest import read_manifest
from routes.loading import load_route
from routes.offline import run_offline
from tests.tiny_training import cost_of_macs, quiet
from training import vit as recipe
from training.choosing.replay import accuracy
from training.data.sets import DataSet
from training.export.classifiers import run_onnx
from training.fitting.dense_teacher import load_teacher
from training.fitting.vit import spec_for
from training.nets.predicting import predict


def test_a_trained_transformer_becomes_a_route(
    tmp_path: Path, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(spec_for(tiny_data), width=16, layers=1, heads=2, hidden=32, stem=(4, 8, 8))
    monkeypatch.setattr(recipe, "load_data", lambda name: tiny_data)
    monkeypatch.setattr(recipe, "spec_for", lambda data: spec)
    out, runs = tmp_path / "models", tmp_path / "runs"
    route = recipe.train("squares", out, runs, epochs=1, measure=cost_of_macs, console=quiet())
    assert route == out / "squares-vit" / "1"
    manifest = read_manifest(route)
    assert manifest.pipeline == "single"
    assert "blocks.0.mlp.0.weight" in load_file(runs / "vit.safetensors")
    shipped = load_file(route / "vit.safetensors")
    assert shipped["blocks.0.mlp.0.weight"].dtype == torch.float16
    logits = run_onnx(route / "vit.onnx", tiny_data.test.pictures)
    same = load_teacher(route / "vit.safetensors", spec)
    assert np.allclose(predict(same, tiny_data.test.pictures)[0], logits, atol=1e-4)
    assert manifest.provenance["test_accuracy"] == accuracy(logits, tiny_data.test.labels)
    pipeline = load_route(route, OnnxDevice()).pipeline
    rows = run_offline(pipeline, {"image": tiny_data.test.pictures[:8]}, OnnxDevice())
    answers = [row.outcome for row in rows if row.outcome is not None]
    labels = [answer.outputs["label"] for answer in answers]
    assert labels == list(logits[:8].argmax(axis=1))
