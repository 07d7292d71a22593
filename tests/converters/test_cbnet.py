"""Converters that end every row: as published, and the encoder alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from converters import cbnet, encoder_only
from core.classifiers.scores import SCORES, softmax
from core.devices.interface import Device
from core.devices.onnx import OnnxDevice
from core.errors import ModelDirectoryError
from core.messages import Batch, Pipeline, Step
from harness.tiny_routes import make_net, make_pictures, make_poison, write_route
from tests.fakes.tiny_kinds import make_converter, write_cbnet, write_encoder_only

DEVICE = OnnxDevice()
KINDS = [(cbnet.build, write_cbnet), (encoder_only.build, write_encoder_only)]
Build = Callable[[Path, Device], Pipeline]
Write = Callable[..., Path]


def _run(pipeline: Pipeline, pictures: np.ndarray, **controls: float) -> list[Step]:
    arrays = {name: np.full(len(pictures), value) for name, value in controls.items()}
    batch = Batch({"image": pictures}, arrays, [None] * len(pictures))
    return list(pipeline.stages[pipeline.first].run(batch))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(("build", "write"), KINDS)
def test_every_row_ends_with_its_nets_calibrated_answer(
    tmp_path: Path, build: Build, write: Write, score: str
) -> None:
    directory = write(
        tmp_path,
        options={"score": score},
        change=lambda table: table["stages"][0].update(temperature=1.5),
    )
    pictures = make_pictures(16)
    session = onnxruntime.InferenceSession(directory / "stage0.onnx")
    said = softmax(session.run(["logits"], {"image": pictures})[0], 1.5)
    confidences = SCORES[score](said)
    steps = _run(build(directory, DEVICE), pictures, min_confidence=2.0)
    for row, step in enumerate(steps):
        assert step.answer is not None
        assert step.next is None
        assert step.macs == 7840
        assert step.answer.exit == "stage0"
        assert step.answer.outputs["probabilities"] == pytest.approx(said[row], abs=1e-6)
        assert step.answer.outputs["label"] == said[row].argmax()
        assert step.answer.confidence == pytest.approx(confidences[row], abs=1e-6)


@pytest.mark.parametrize("poisoned", ["logits", "nearest"])
def test_a_row_whose_logits_or_distance_are_not_finite_fails_alone(
    tmp_path: Path, poisoned: Any
) -> None:
    directory = write_cbnet(tmp_path, nets=[make_converter(poisoned=poisoned)])
    pictures = make_pictures(5)
    pictures[2] = make_poison()
    if poisoned == "nearest":  # the classifier itself sees nothing wrong
        session = onnxruntime.InferenceSession(directory / "stage0.onnx")
        assert np.isfinite(session.run(["logits"], {"image": pictures})[0]).all()
    steps = _run(cbnet.build(directory, DEVICE), pictures)
    assert steps[2] == Step(7840, None, None)
    assert all(step.answer is not None for row, step in enumerate(steps) if row != 2)


def _set(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda table: table["stages"][0].update({key: value})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"options": {"score": "margin"}}, "options.score"),
        ({"options": {"max_distance": 1.0}}, "options.max_distance"),
        ({"change": _set("threshold", 0.5)}, "the last stage stage0 has a threshold"),
        ({"classes": 7}, r"stage stage0: outputs are .*; missing are logits FP32 \[-1, 7\]"),
    ],
)
@pytest.mark.parametrize(("build", "write"), KINDS)
def test_a_directory_that_makes_no_such_pipeline_is_refused_and_the_fault_named(
    tmp_path: Path, build: Build, write: Write, arguments: dict[str, Any], named: str
) -> None:
    if write is write_encoder_only and "classes" in arguments:
        net = make_net(np.random.default_rng(0), 0, 10, poison=False)
        arguments = {**arguments, "nets": [net]}
    directory = write(tmp_path, **arguments)
    with pytest.raises(ModelDirectoryError, match=named) as caught:
        build(directory, DEVICE)
    assert str(directory) in str(caught.value)


@pytest.mark.parametrize(
    ("build", "kind"), [(cbnet.build, "cbnet"), (encoder_only.build, "encoder-only")]
)
def test_a_second_stage_is_refused(tmp_path: Path, build: Build, kind: str) -> None:
    directory = write_route(tmp_path, stages=2, pipeline=kind, options={})
    with pytest.raises(
        ModelDirectoryError, match=f"pipeline {kind} needs exactly 1 stage; it has 2"
    ):
        build(directory, DEVICE)


def _drop_distance(net: onnx.ModelProto) -> onnx.ModelProto:
    del net.graph.output[1]
    return net


def test_a_converter_that_tells_no_distance_is_refused(tmp_path: Path) -> None:
    directory = write_cbnet(tmp_path, nets=[_drop_distance(make_converter())])
    with pytest.raises(ModelDirectoryError, match=r"missing are distance FP32 \[-1\]"):
        cbnet.build(directory, DEVICE)
