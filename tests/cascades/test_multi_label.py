"""The multi-label cascade: which labels hold, when a row stops, how stages combine, the faults."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import helper

from cascades.answer_kinds import several_labels
from cascades.candidates import Member, trace_members
from cascades.multi_label import build
from cascades.selection import select_cheapest
from cascades.thresholds import simulate
from core.classifiers.label_sets import grade_labels, sigmoid
from core.classifiers.scores import Floats
from core.devices.onnx import OnnxDevice
from core.errors import ModelDirectoryError
from core.messages import NO_CONTROLS, Outcome
from harness.tiny_routes import describe_file, make_pictures
from routes.offline import OfflineRow, run_offline
from tests.fakes.tiny_kinds import CLASSES, write_multi_label

DEVICE = OnnxDevice()
PICTURES = make_pictures(64)
EVERY_STAGE = {"min_confidence": 2.0}


def _run(
    directory: Path,
    pictures: npt.NDArray[np.uint8] = PICTURES,
    controls: Mapping[str, float] = NO_CONTROLS,
) -> list[OfflineRow]:
    return run_offline(build(directory, DEVICE), {"image": pictures}, DEVICE, controls)


def _answers(rows: Sequence[OfflineRow]) -> list[Outcome]:
    return [row.outcome for row in rows if row.outcome is not None]


def _say(directory: Path, index: int) -> Floats:
    """The calibrated log-odds of one stage, straight from its file."""
    session = onnxruntime.InferenceSession(directory / f"stage{index}.onnx")
    logits = session.run(["logits"], {"image": PICTURES})[0].astype(np.float64)
    return np.asarray(logits / (1.0 + 0.25 * index))


def _joint(probabilities: Floats) -> Floats:
    return np.asarray(np.maximum(probabilities, 1 - probabilities).prod(axis=1))


def test_a_row_stops_where_its_whole_answer_is_sure_enough(tmp_path: Path) -> None:
    directory = write_multi_label(tmp_path, stages=2, thresholds=[0.1])
    rows = _run(directory)
    probabilities = sigmoid(_say(directory, 0))
    sure = _joint(probabilities) >= 0.1
    assert 0 < sure.sum() < 64
    assert [row.stages == ("stage0",) for row in rows] == sure.tolist()
    for place in np.flatnonzero(sure):
        answer = _answers(rows)[place]
        assert answer.outputs["probabilities"] == pytest.approx(probabilities[place])
        assert answer.outputs["labels"].tolist() == (probabilities[place] >= 0.5).tolist()
        assert answer.confidence == pytest.approx(_joint(probabilities)[place])


def test_outputs_have_the_declared_types(tmp_path: Path) -> None:
    (answer,) = _answers(_run(write_multi_label(tmp_path), PICTURES[:1]))
    assert answer.outputs["labels"].dtype == np.bool_
    assert answer.outputs["probabilities"].dtype == np.float32
    assert {array.shape for array in answer.outputs.values()} == {(CLASSES,)}


def test_every_label_has_its_own_threshold(tmp_path: Path) -> None:
    limits = [0.05, 0.95, *[0.5] * (CLASSES - 2)]
    directory = write_multi_label(tmp_path, stages=1, options={"label_thresholds": limits})
    probabilities = sigmoid(_say(directory, 0))
    answers = _answers(_run(directory))
    for answer, own in zip(answers, probabilities, strict=True):
        assert answer.outputs["labels"].tolist() == (own >= limits).tolist()
    assert any(0.5 < own[1] < 0.95 for own in probabilities)


@pytest.mark.parametrize("combine", ["last", "average", "post_check"])
def test_stages_combine_by_the_rule(tmp_path: Path, combine: str) -> None:
    directory = write_multi_label(tmp_path, stages=2, options={"combine": combine})
    first, second = _say(directory, 0), _say(directory, 1)
    surer = _joint(sigmoid(second)) > _joint(sigmoid(first))
    expected = {
        "last": sigmoid(second),
        "average": sigmoid((first + second) / 2),
        "post_check": np.where(surer[:, None], sigmoid(second), sigmoid(first)),
    }[combine]
    rows = _run(directory, controls=EVERY_STAGE)
    found = np.array([answer.outputs["probabilities"] for answer in _answers(rows)])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    exits = [answer.exit for answer in _answers(rows)]
    if combine == "post_check":
        assert exits == [f"stage{int(one)}" for one in surer]
        assert len(set(exits)) == 2


def test_the_last_stage_alone_answers_with_its_own_labels(tmp_path: Path) -> None:
    directory = write_multi_label(tmp_path, stages=2, options={"combine": "average"})
    rows = _run(directory, controls={"min_confidence": 1.0})
    assert {row.stages for row in rows} == {("stage1",)}
    found = np.array([answer.outputs["probabilities"] for answer in _answers(rows)])
    np.testing.assert_allclose(found, sigmoid(_say(directory, 1)), rtol=1e-5)


def _set(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda table: table.update({key: value})


LABELS = {"name": "labels", "datatype": "BOOL", "shape": [-1, CLASSES]}
PROBABILITIES = {"name": "probabilities", "datatype": "FP32", "shape": [-1, CLASSES]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_set("options", {"score": "entropy"}), "options.score"),
        (_set("options", {"label_thresholds": [0.5]}), "given 1, declared are 10 labels"),
        (_set("options", {"label_thresholds": [0.0] * CLASSES}), "options.label_thresholds.0"),
        (_set("outputs", [PROBABILITIES]), r"needed are labels BOOL \[-1, 10\] and probabilities"),
        (_set("outputs", [LABELS]), r"needed are labels BOOL \[-1, -1\] and probabilities"),
        (_set("outputs", [{**LABELS, "shape": [-1, 9]}, PROBABILITIES]), "needed are labels"),
        (_set("outputs", [{**LABELS, "datatype": "INT64"}, PROBABILITIES]), "needed are labels"),
        (_set("labels", ["a"]), "labels: given 1, declared are 10"),
    ],
)
def test_a_manifest_of_something_else_is_refused_and_the_fault_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    directory = write_multi_label(tmp_path, change=change)
    with pytest.raises(ModelDirectoryError, match=named) as caught:
        build(directory, DEVICE)
    assert str(directory) in str(caught.value)


def test_probabilities_that_pass_for_logits_are_refused(tmp_path: Path) -> None:
    def change(table: dict[str, Any]) -> None:
        path = tmp_path / "tiny" / "1" / "stage0.onnx"
        model = onnx.load(path)
        model.graph.node[-1].output[0] = "raw"
        model.graph.node.append(helper.make_node("Sigmoid", ["raw"], ["logits"]))
        path.write_bytes(model.SerializeToString())
        table["files"]["stage0.onnx"] = describe_file(path)

    directory = write_multi_label(tmp_path, change=change)
    with pytest.raises(ModelDirectoryError, match="holds probabilities, so thresholds"):
        build(directory, DEVICE)


def _draw(rows: int, noise: float, labels: npt.NDArray[np.int64], seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    hard = rng.random((rows, 1)) < 0.3
    logits = (2 * labels - 1) * 4 + rng.normal(0, 1, labels.shape)
    return np.asarray(np.where(hard, rng.normal(0, noise, labels.shape), logits))


def test_the_cheapest_cascade_that_keeps_the_labels_is_selected() -> None:
    rows = 1000
    labels = (np.random.default_rng(0).random((rows, 6)) < 0.3).astype(np.int64)
    small = Member("small", _draw(rows, 0.3, labels, 1), 1.0)
    large = Member("large", (2 * labels - 1) * 5.0, 10.0)
    kind = several_labels()
    choice = select_cheapest([small, large], labels, reference="large", max_loss=0.02, kind=kind)
    chosen = choice.chosen
    assert chosen.members == ("small", "large")
    assert chosen.score == "joint"
    assert chosen.cost < 6
    trace = trace_members(
        [small, large], chosen.temperatures, chosen.score, chosen.combine, labels, kind
    )
    grades, costs = simulate(trace, chosen.thresholds)
    assert grades.mean() > 0.98
    assert costs.mean() == pytest.approx(chosen.cost, rel=0.1)
    alone = grade_labels(small.logits >= 0, labels).mean()
    assert alone < 0.9
