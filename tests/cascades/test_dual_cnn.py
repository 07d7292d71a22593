"""The cascade pipeline: when a row stops, whose answer wins, what it carries, what is refused."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from cascades.combining import RULES, first_answer
from cascades.dual_cnn import CascadeStage, build
from core.classifiers.classifier import Classifier
from core.classifiers.scores import SCORES, Floats, log_softmax
from core.devices.onnx import OnnxDevice
from core.errors import ModelDirectoryError
from core.messages import Batch, Next, Outcome, Step
from harness.tiny_routes import describe_file, make_pictures, make_poison, write_route

DEVICE = OnnxDevice()
Pictures = npt.NDArray[np.uint8]
Cascade = Classifier[CascadeStage]


def _build(root: Path, **arguments: Any) -> Cascade:
    return build(write_route(root, **arguments), DEVICE)


def _run(
    cascade: Cascade, stage: str, inputs: dict[str, Any], **controls: Sequence[float]
) -> Sequence[Step]:
    rows = len(next(iter(inputs.values())))
    arrays = {name: np.array(values, dtype=np.float64) for name, values in controls.items()}
    return cascade.stages[stage].run(Batch(inputs, arrays, [None] * rows))


def _follow(cascade: Cascade, step: Step, **controls: Sequence[float]) -> Step:
    """The row's next step, alone."""
    assert step.next is not None
    inputs = {name: DEVICE.collate([array]) for name, array in step.next.inputs.items()}
    return _run(cascade, step.next.stage, inputs, **controls)[0]


def _answer(step: Step) -> Outcome:
    assert step.answer is not None
    return step.answer


def _say(cascade: Cascade, directory: Path, pictures: Pictures) -> dict[str, Floats]:
    """Each stage's calibrated log-probabilities, straight from its file."""
    said = {}
    for stage in cascade.stages.values():
        session = onnxruntime.InferenceSession(directory / f"{stage.name}.onnx")
        said[stage.name] = log_softmax(
            session.run(["logits"], {"image": pictures})[0], stage.temperature
        )
    return said


@pytest.mark.parametrize("score", SCORES)
def test_a_row_stops_when_its_own_score_reaches_the_threshold(tmp_path: Path, score: str) -> None:
    cascade = _build(tmp_path, score=score, thresholds=[0.6])
    pictures = make_pictures(64)
    said = _say(cascade, tmp_path / "tiny" / "1", pictures)["stage0"]
    sure = SCORES[score](np.exp(said)) >= 0.6
    assert 0 < sure.sum() < 64
    steps = _run(cascade, "stage0", {"image": pictures})
    assert [step.next is None for step in steps] == sure.tolist()
    for step, logs in zip(steps, said, strict=True):
        answer = _answer(step)
        assert answer.outputs["probabilities"] == pytest.approx(np.exp(logs))
        assert answer.outputs["label"] == logs.argmax()
        assert answer.confidence == pytest.approx(SCORES[score](np.exp(logs)[None])[0])
        assert answer.exit == "stage0"


def test_outputs_have_the_declared_types(tmp_path: Path) -> None:
    answer = _answer(_run(_build(tmp_path), "stage0", {"image": make_pictures(1)})[0])
    assert answer.outputs["label"].dtype == np.int64
    assert answer.outputs["label"].shape == ()
    assert answer.outputs["probabilities"].dtype == np.float32
    assert answer.outputs["probabilities"].shape == (10,)
    assert isinstance(answer.confidence, float)


def test_a_score_equal_to_the_threshold_stops(tmp_path: Path) -> None:
    cascade = _build(tmp_path)
    pictures = make_pictures(1)
    confidence = _answer(_run(cascade, "stage0", {"image": pictures})[0]).confidence
    above = float(np.nextafter(confidence, 2))
    ends = [
        _run(_build(tmp_path / name, thresholds=[limit]), "stage0", {"image": pictures})[0].next
        for name, limit in (("equal", confidence), ("higher", above))
    ]
    assert [following is None for following in ends] == [True, False]


def _both(cascade: Cascade, pictures: Pictures) -> list[tuple[Outcome, Outcome]]:
    """Every row's answer after the first and after the second stage, all sent on."""
    steps = _run(cascade, "stage0", {"image": pictures}, min_confidence=[2.0] * len(pictures))
    return [(_answer(step), _answer(_follow(cascade, step))) for step in steps]


def test_with_post_check_the_surer_answer_wins_and_names_its_stage(tmp_path: Path) -> None:
    cascade = _build(tmp_path, combine="post_check")
    pictures = make_pictures(64)
    said = _say(cascade, tmp_path / "tiny" / "1", pictures)
    exits = []
    for row, (before, after) in enumerate(_both(cascade, pictures)):
        second = np.exp(said["stage1"][row])
        score = SCORES["difference"](second[None])[0]
        exits.append("stage1" if score > before.confidence else "stage0")
        winner = second if exits[-1] == "stage1" else before.outputs["probabilities"]
        assert after.exit == exits[-1]
        assert after.confidence == pytest.approx(max(score, before.confidence))
        assert after.outputs["probabilities"] == pytest.approx(winner)
    assert set(exits) == {"stage0", "stage1"}


def test_with_last_the_later_answer_wins_always(tmp_path: Path) -> None:
    cascade = _build(tmp_path, combine="last")
    pictures = make_pictures(32)
    said = _say(cascade, tmp_path / "tiny" / "1", pictures)["stage1"]
    for logs, (_, after) in zip(said, _both(cascade, pictures), strict=True):
        assert after.exit == "stage1"
        assert after.outputs["probabilities"] == pytest.approx(np.exp(logs))


def test_with_average_all_stages_that_ran_count_alike(tmp_path: Path) -> None:
    cascade = _build(tmp_path, stages=3, combine="average", thresholds=[1.0, 1.0])
    pictures = make_pictures(16)
    said = _say(cascade, tmp_path / "tiny" / "1", pictures)
    for row, step in enumerate(_run(cascade, "stage0", {"image": pictures})):
        final = _answer(_follow(cascade, _follow(cascade, step)))
        mean = np.exp(sum(logs[row] for logs in said.values()) / 3)
        assert final.outputs["probabilities"] == pytest.approx(mean / mean.sum(), rel=1e-5)
        assert final.exit == "stage2"


def test_the_second_stage_decides_by_its_own_score_not_the_combined_one(tmp_path: Path) -> None:
    cascade = _build(tmp_path, stages=3, combine="post_check")
    pictures = make_pictures(64)
    own = SCORES["difference"](np.exp(_say(cascade, tmp_path / "tiny" / "1", pictures)["stage1"]))
    steps = _run(cascade, "stage0", {"image": pictures}, min_confidence=[2.0] * 64)
    second = [_follow(cascade, step) for step in steps]
    assert [step.next is None for step in second] == (own >= 0.5).tolist()
    assert any(step.next and _answer(step).confidence >= 0.5 for step in second)


def test_a_tie_goes_to_the_earlier_stage() -> None:
    logs = log_softmax(np.array([[0.0, 1.0, 2.0]]))
    score = SCORES["difference"]
    early, late = first_answer(logs, score, 0), first_answer(logs[:, ::-1].copy(), score, 1)
    verdict = RULES["post_check"](early, late, 1, score)
    assert verdict.exits.tolist() == [0]
    assert verdict.probabilities.argmax() == 2


def test_min_confidence_sends_on_only_the_rows_that_set_it(tmp_path: Path) -> None:
    cascade = _build(tmp_path, thresholds=[0.0])
    wanted = [np.nan, 0.0, 2.0, np.nan]
    steps = _run(cascade, "stage0", {"image": make_pictures(4)}, min_confidence=wanted)
    assert [step.next is not None for step in steps] == [False, False, True, False]


def test_min_confidence_never_stops_a_row_that_is_below_the_threshold(tmp_path: Path) -> None:
    cascade = _build(tmp_path, thresholds=[1.0])
    steps = _run(cascade, "stage0", {"image": make_pictures(4)}, min_confidence=[0.0] * 4)
    assert all(step.next for step in steps)


def test_the_last_stage_always_ends(tmp_path: Path) -> None:
    cascade = _build(tmp_path, stages=1)
    steps = _run(
        cascade,
        "stage0",
        {"image": make_pictures(4)},
        min_confidence=[2.0] * 4,
    )
    assert all(step.next is None and step.answer for step in steps)


def test_a_survivor_takes_its_picture_and_little_else_along(tmp_path: Path) -> None:
    cascade = _build(tmp_path, thresholds=[1.0])
    pictures = make_pictures(3)
    for picture, step in zip(pictures, _run(cascade, "stage0", {"image": pictures}), strict=True):
        assert isinstance(step.next, Next)
        assert step.next.stage == "stage1"
        assert set(step.next.inputs) == {"image", "so_far"}
        assert (step.next.inputs["image"] == picture).all()
        assert step.next.inputs["so_far"].shape == (12,)


def test_macs_are_the_manifests(tmp_path: Path) -> None:
    cascade = _build(tmp_path, thresholds=[1.0])
    step = _run(cascade, "stage0", {"image": make_pictures(1)})[0]
    assert (step.macs, _follow(cascade, step).macs) == (7840, 14896)


@pytest.mark.parametrize("stage", ["stage0", "stage1"])
def test_a_row_whose_logits_are_not_finite_fails_alone(tmp_path: Path, stage: str) -> None:
    cascade = _build(tmp_path, poison=True, thresholds=[1.0])
    pictures = make_pictures(5)
    clean = pictures.copy()
    pictures[2] = make_poison()
    so_far = [step.next for step in _run(cascade, "stage0", {"image": clean})]
    carried = {"so_far": np.array([item.inputs["so_far"] for item in so_far if item])}
    extra = carried if stage == "stage1" else {}
    steps = _run(cascade, stage, {"image": pictures, **extra})
    expected = _run(cascade, stage, {"image": clean, **extra})
    assert steps[2] == Step(cascade.stages[stage].macs, None, None)
    for row in (0, 1, 3, 4):
        left, right = _answer(steps[row]), _answer(expected[row])
        assert left.outputs["probabilities"].tobytes() == right.outputs["probabilities"].tobytes()


def _set(key: str, value: object, stage: int | None = None) -> Callable[[dict[str, Any]], None]:
    def change(table: dict[str, Any]) -> None:
        (table if stage is None else table["stages"][stage])[key] = value

    return change


def _drop_threshold(table: dict[str, Any]) -> None:
    del table["stages"][0]["threshold"]


PROBABILITIES = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}
LABEL = {"name": "label", "datatype": "INT64", "shape": [-1]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_set("options", {"score": "margin"}), "options.score"),
        (_set("options", {"combine": "vote"}), "options.combine"),
        (_set("options", {"colour": 1}), "options.colour"),
        (_drop_threshold, "stage0 has no threshold"),
        (_set("threshold", 0.5, stage=1), "last stage stage1 has a threshold"),
        (_set("name", "stage0", stage=1), "distinct"),
        (_set("pipeline", "single"), "single needs exactly 1 stage; it has 2"),
        (_set("outputs", [LABEL]), "outputs"),
        (_set("outputs", [LABEL, {**PROBABILITIES, "datatype": "FP64"}]), "probabilities is FP64"),
        (_set("outputs", [LABEL, {**PROBABILITIES, "shape": [-1, 1]}]), "at least 2"),
        (
            _set("outputs", [LABEL, {**PROBABILITIES, "shape": [-1, 9]}]),
            "labels: given 10, declared are 9",
        ),
        (_set("labels", ["a", "b"]), "labels: given 2"),
        (
            _set("inputs", [{"name": "picture", "datatype": "UINT8", "shape": [-1, 28, 28]}]),
            "inputs are",
        ),
        (
            _set("inputs", [{"name": "image", "datatype": "FP32", "shape": [-1, 28, 28]}]),
            "inputs are",
        ),
        (
            _set("inputs", [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32]}]),
            "inputs are",
        ),
    ],
)
def test_a_manifest_that_makes_no_cascade_is_refused_and_the_fault_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    directory = write_route(tmp_path, change=change)
    with pytest.raises(ModelDirectoryError, match=named) as caught:
        build(directory, DEVICE)
    assert str(directory) in str(caught.value)


def test_a_net_with_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    other = write_route(tmp_path, "other", classes=7)

    def change(table: dict[str, Any]) -> None:
        path = tmp_path / "tiny" / "1" / "stage1.onnx"
        path.write_bytes((other / "stage1.onnx").read_bytes())
        table["files"]["stage1.onnx"] = describe_file(path)

    with pytest.raises(ModelDirectoryError, match="stage stage1: outputs are"):
        _build(tmp_path, change=change)


def test_a_file_that_is_no_net_is_refused(tmp_path: Path) -> None:
    def change(table: dict[str, Any]) -> None:
        path = tmp_path / "tiny" / "1" / "stage1.onnx"
        path.write_bytes(b"not a net")
        table["files"]["stage1.onnx"] = describe_file(path)

    with pytest.raises(ModelDirectoryError, match=r"stage1\.onnx"):
        _build(tmp_path, change=change)
