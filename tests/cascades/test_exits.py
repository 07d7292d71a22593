"""Early exits: where a row ends, whose answer it gets, what it takes along, what is refused."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from cascades.exits import ExitStage, build
from core.classifiers.classifier import Classifier, FinalStage
from core.classifiers.scores import SCORES, Floats, softmax
from core.devices.onnx import OnnxDevice
from core.errors import ModelDirectoryError
from core.messages import Batch, Outcome, Stage, Step
from harness.tiny_routes import make_pictures, make_poison
from routes.offline import run_offline
from tests.fakes.tiny_kinds import CLASSES, make_segment, write_exits

DEVICE = OnnxDevice()
Exits = Classifier[ExitStage | FinalStage]


def _run(stage: Stage, inputs: dict[str, Any], **controls: Sequence[float]) -> Sequence[Step]:
    rows = len(next(iter(inputs.values())))
    arrays = {name: np.array(values, dtype=np.float64) for name, values in controls.items()}
    return stage.run(Batch(inputs, arrays, [None] * rows))


def _say(directory: Path, pictures: np.ndarray) -> list[np.ndarray]:
    """Every exit's logits for every picture, straight from the files, one after the other."""
    said, features = [], pictures
    for path in sorted(directory.glob("*.onnx")):
        session = onnxruntime.InferenceSession(path)
        (name,) = (node.name for node in session.get_inputs())
        given = dict(
            zip(
                (node.name for node in session.get_outputs()),
                session.run(None, {name: features}),
                strict=True,
            )
        )
        said.append(given["logits"])
        features = given.get("features", features)
    return said


def _answer(step: Step) -> Outcome:
    assert step.answer is not None
    return step.answer


@pytest.mark.parametrize("score", SCORES)
def test_a_row_ends_at_the_first_exit_that_is_sure_with_that_exits_own_answer(
    tmp_path: Path, score: str
) -> None:
    directory = write_exits(tmp_path, options={"score": score}, thresholds=[0.4, 0.3])
    pictures = make_pictures(64)
    said = [
        softmax(logits, 1.0 + 0.25 * index)  # as tiny routes have it
        for index, logits in enumerate(_say(directory, pictures))
    ]
    scores = [SCORES[score](probabilities) for probabilities in said]
    ends = np.where(scores[0] >= 0.4, 0, np.where(scores[1] >= 0.3, 1, 2)).tolist()
    assert set(ends) == {0, 1, 2}
    rows = run_offline(build(directory, DEVICE), {"image": pictures}, DEVICE)
    for row, end in enumerate(ends):
        outcome = rows[row].outcome
        assert outcome is not None
        assert outcome.exit == f"stage{end}"
        assert outcome.outputs["probabilities"] == pytest.approx(said[end][row], abs=1e-6)
        assert outcome.outputs["label"] == said[end][row].argmax()
        assert outcome.confidence == pytest.approx(scores[end][row], abs=1e-6)
        assert rows[row].macs == sum((7840, 14896, 29792)[: end + 1])


def test_the_papers_threshold_in_nats_is_ours_turned_round(tmp_path: Path) -> None:
    nats = 1.5
    directory = write_exits(
        tmp_path,
        2,
        options={},
        thresholds=[1 - nats / math.log(CLASSES)],
        change=lambda table: table["stages"][0].update(temperature=1.0),
    )
    pictures = make_pictures(64)
    p: Floats = softmax(_say(directory, pictures)[0])
    leaves = (-(p * np.log(p)).sum(axis=1) < nats).tolist()
    assert 0 < sum(leaves) < 64
    steps = _run(build(directory, DEVICE).stages["stage0"], {"image": pictures})
    assert [step.next is None for step in steps] == leaves


def test_a_survivor_takes_its_features_along_and_nothing_else(tmp_path: Path) -> None:
    nets = [make_segment(0, False), _rename(make_segment(1, True), "trunk", "given")]
    directory = write_exits(tmp_path, thresholds=[1.0], nets=nets)
    pictures = make_pictures(5)
    session = onnxruntime.InferenceSession(directory / "stage0.onnx")
    (features,) = session.run(["features"], {"image": pictures})
    steps = _run(build(directory, DEVICE).stages["stage0"], {"image": pictures})
    for row, step in enumerate(steps):
        assert step.next is not None
        assert step.next.stage == "stage1"
        assert set(step.next.inputs) == {"given"}
        assert (step.next.inputs["given"] == features[row]).all()


@pytest.mark.parametrize("stage", ["stage0", "stage1"])
def test_a_row_may_ask_for_more_than_the_threshold(tmp_path: Path, stage: str) -> None:
    pipeline = build(write_exits(tmp_path, thresholds=[0.0, 0.0]), DEVICE)
    first = _run(pipeline.stages["stage0"], {"image": make_pictures(4)}, min_confidence=[2.0] * 4)
    features = [step.next.inputs["trunk"] for step in first if step.next]
    given = {"image": make_pictures(4)} if stage == "stage0" else {"trunk": np.array(features)}
    nan = math.nan
    steps = _run(pipeline.stages[stage], given, min_confidence=[nan, 2.0, 0.0, nan])
    assert [step.next is not None for step in steps] == [False, True, False, False]


def test_the_last_exit_ends_every_row(tmp_path: Path) -> None:
    pipeline = build(write_exits(tmp_path), DEVICE)
    rows = run_offline(pipeline, {"image": make_pictures(4)}, DEVICE, {"min_confidence": 2.0})
    assert [row.stages for row in rows] == [("stage0", "stage1", "stage2")] * 4
    assert [row.outcome and row.outcome.exit for row in rows] == ["stage2"] * 4


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_features_that_are_not_finite_fail_their_row_alone(tmp_path: Path, stage: str) -> None:
    stages = build(write_exits(tmp_path), DEVICE).stages
    shape = (4, 14, 14) if stage == "stage1" else (8, 7, 7)
    features = np.random.default_rng(0).normal(0, 1, (5, *shape)).astype(np.float32)
    clean = _run(stages[stage], {"trunk": features})
    features[2, 0, 3, 3] = np.nan
    steps = _run(stages[stage], {"trunk": features})
    assert (steps[2].answer, steps[2].next) == (None, None)
    for row in (0, 1, 3, 4):
        left, right = _answer(steps[row]), _answer(clean[row])
        assert left.outputs["probabilities"].tobytes() == right.outputs["probabilities"].tobytes()


def _set(key: str, value: object, stage: int) -> Callable[[dict[str, Any]], None]:
    def change(table: dict[str, Any]) -> None:
        table["stages"][stage][key] = value

    return change


def _drop_threshold(table: dict[str, Any]) -> None:
    del table["stages"][1]["threshold"]


def _rename(net: onnx.ModelProto, old: str, new: str) -> onnx.ModelProto:
    for node in net.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in (*net.graph.input, *net.graph.output):
        value.name = new if value.name == old else value.name
    return net


def _fix_rows(net: onnx.ModelProto) -> onnx.ModelProto:
    """Features of one row only."""
    net.graph.output[1].type.tensor_type.shape.dim[0].dim_value = 1
    return net


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"options": {"score": "margin"}}, "options.score"),
        ({"options": {"combine": "last"}}, "options.combine"),
        ({"stages": 1}, "pipeline exits needs at least 2 stages; it has 1"),
        ({"change": _drop_threshold}, "stage1 has no threshold"),
        ({"change": _set("threshold", 0.5, 2)}, "the last stage stage2 has a threshold"),
        ({"change": _set("name", "stage0", 1)}, "distinct"),
    ],
)
def test_a_manifest_that_makes_no_exits_is_refused_and_the_fault_named(
    tmp_path: Path, arguments: dict[str, Any], named: str
) -> None:
    directory = write_exits(tmp_path, **arguments)
    with pytest.raises(ModelDirectoryError, match=named) as caught:
        build(directory, DEVICE)
    assert str(directory) in str(caught.value)


@pytest.mark.parametrize(
    ("nets", "named"),
    [
        ([make_segment(0, True), make_segment(1, True)], "stage stage0 gives no features FP32"),
        (
            [_rename(make_segment(0, False), "features", "maps2"), make_segment(1, True)],
            "stage stage0 gives no features FP32",
        ),
        ([_fix_rows(make_segment(0, False)), make_segment(1, True)], "gives no features FP32"),
        (
            [_rename(make_segment(0, False), "logits", "scores"), make_segment(1, True)],
            r"stage stage0: outputs are scores FP32 \[-1, 10\]",
        ),
        (
            [make_segment(0, False), make_segment(2, True)],
            r"stage1.onnx: stage stage1: inputs are trunk FP32 \[-1, 8, 7, 7\]; "
            r"the route sends trunk FP32 \[-1, 4, 14, 14\]",
        ),
        ([make_segment(0, False), make_segment(0, True)], "stage stage1: inputs are image UINT8"),
        ([make_segment(1, False), make_segment(2, True)], "stage stage0: inputs are trunk FP32"),
    ],
)
def test_segments_that_do_not_fit_together_are_refused_and_the_fault_named(
    tmp_path: Path, nets: list[onnx.ModelProto], named: str
) -> None:
    directory = write_exits(tmp_path, nets=nets)
    with pytest.raises(ModelDirectoryError, match=named) as caught:
        build(directory, DEVICE)
    assert str(directory) in str(caught.value)


def test_a_poison_picture_fails_at_the_first_exit(tmp_path: Path) -> None:
    pictures = np.stack([make_pictures(1)[0], make_poison()])
    steps = _run(build(write_exits(tmp_path), DEVICE).stages["stage0"], {"image": pictures})
    assert steps[0].answer is not None
    assert steps[1] == Step(7840, None, None)
