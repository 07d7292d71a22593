"""The gated converter: who is converted, whom the gate believes, and what it never lets out."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from converters.gated import Gated, build
from core.classifiers.scores import SCORES, Floats, softmax
from core.devices.onnx import OnnxDevice
from core.errors import ModelDirectoryError
from core.messages import Batch, Request, Step
from harness.tiny_routes import make_net, make_pictures, make_poison
from monitoring.metrics.switched_off import NoMetrics
from routes.loading import load_route
from routes.offline import run_offline
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from tests.fakes.tiny_kinds import MAX_DISTANCE, make_converter, write_gated
from tests.fakes.toys import with_engine

DEVICE = OnnxDevice()
Pictures = np.ndarray


def _say(directory: Path, pictures: Pictures) -> tuple[list[Floats], np.ndarray]:
    """Each stage's probabilities for every picture, and the distances, straight from the files."""
    sessions = [
        onnxruntime.InferenceSession(directory / f"stage{index}.onnx") for index in range(3)
    ]
    said = [
        softmax(session.run(["logits"], {"image": pictures})[0], 1.0 + 0.25 * index)
        for index, session in enumerate(sessions)
    ]
    return said, sessions[1].run(["distance"], {"image": pictures})[0]


def _convert(
    pipeline: Gated, pictures: Pictures, labels: Sequence[int], **controls: Sequence[float]
) -> Sequence[Step]:
    arrays = {name: np.array(values, dtype=np.float64) for name, values in controls.items()}
    inputs = {"image": pictures, "light_label": np.array(labels, dtype=np.int64)}
    return pipeline.stages["stage1"].run(Batch(inputs, arrays, [None] * len(pictures)))


@pytest.mark.parametrize("agree", [True, False])
@pytest.mark.parametrize("max_distance", [MAX_DISTANCE, math.inf, 0.0])
def test_a_row_ends_at_convert_only_if_it_is_sure_near_and_agrees(
    tmp_path: Path, agree: bool, max_distance: float
) -> None:
    directory = write_gated(tmp_path, agree=agree, max_distance=max_distance)
    pictures = make_pictures(64)
    said, distances = _say(directory, pictures)
    light, converted, _ = (SCORES["difference"](p) for p in said)
    passes = (converted >= 0.25) & (distances <= max_distance)
    if agree:
        passes &= said[0].argmax(axis=1) == said[1].argmax(axis=1)
    ends = np.where(light >= 0.5, 0, np.where(passes, 1, 2)).tolist()
    assert set(ends) == ({0, 2} if max_distance == 0 else {0, 1, 2})
    for row, done in enumerate(run_offline(build(directory, DEVICE), {"image": pictures}, DEVICE)):
        assert done.outcome is not None
        assert done.outcome.exit == f"stage{ends[row]}"
        assert len(done.stages) == ends[row] + 1
        assert done.outcome.outputs["probabilities"] == pytest.approx(
            said[ends[row]][row], abs=1e-6
        )


def test_each_condition_of_the_gate_refuses_by_itself(tmp_path: Path) -> None:
    pictures = make_pictures(64)
    directory = write_gated(tmp_path)
    said, distances = _say(directory, pictures)
    agrees = said[0].argmax(axis=1) == said[1].argmax(axis=1)
    is_sure = SCORES["difference"](said[1]) >= 0.25
    is_near = distances <= MAX_DISTANCE
    steps = _convert(build(directory, DEVICE), pictures, said[0].argmax(axis=1).tolist())
    for alone in (
        ~agrees & is_sure & is_near,
        agrees & ~is_sure & is_near,
        agrees & is_sure & ~is_near,
    ):
        assert alone.any()
        assert all(steps[row].next for row in np.flatnonzero(alone).tolist())


def test_an_answer_that_the_gate_refuses_is_given_to_nobody(tmp_path: Path) -> None:
    pictures = make_pictures(32)
    directory = write_gated(tmp_path, agree=False, thresholds=[0.5, 0.0])
    _, distances = _say(directory, pictures)
    steps = _convert(build(directory, DEVICE), pictures, [0] * 32)
    assert [step.answer is None for step in steps] == (distances > MAX_DISTANCE).tolist()
    assert [step.next is not None for step in steps] == (distances > MAX_DISTANCE).tolist()


def test_a_deadline_after_a_refused_conversion_releases_the_light_classifiers_answer(
    tmp_path: Path,
) -> None:
    loaded = load_route(write_gated(tmp_path, max_distance=0.0, memory=False), DEVICE)
    served = ServedRoute(
        loaded.manifest,
        loaded.pipeline,
        NoMetrics().add_route("tiny", list(loaded.pipeline.stages)),
    )
    picture = make_pictures(1)
    for lane, seconds in zip(served.lanes.values(), (0.0001, 0.0001, 1000.0), strict=True):
        lane.times.calibrate(seconds, seconds, 32)  # the full classifier would come too late

    async def use(engine: Engine) -> None:
        request = Request(
            "tiny",
            {"image": picture},
            deadline=time.monotonic() + 15.0,
            controls={"min_confidence": 2.0},
        )
        (answer,) = (await asyncio.wait_for(engine.answer(request), 10.0)).answers
        macs = [stage.macs for stage in loaded.manifest.stages]
        assert (answer.stopped_by, answer.outcome.exit) == ("deadline", "stage0")
        assert answer.macs == macs[0] + macs[1]  # it was converted all the same

    with_engine(use, served)


def test_what_only_the_caller_finds_too_unsure_is_his_answer_so_far(tmp_path: Path) -> None:
    pictures = make_pictures(4)
    directory = write_gated(tmp_path, agree=False, max_distance=math.inf, thresholds=[0.5, 0.0])
    nan = math.nan
    steps = _convert(
        build(directory, DEVICE), pictures, [0] * 4, min_confidence=[nan, 2.0, 0.0, nan]
    )
    assert [step.next is not None for step in steps] == [False, True, False, False]
    assert [step.answer and step.answer.exit for step in steps] == ["stage1"] * 4


def test_rows_take_their_picture_along_and_to_the_gate_the_light_label(tmp_path: Path) -> None:
    pictures = make_pictures(4)
    pipeline = build(write_gated(tmp_path, thresholds=[1.0, 1.0]), DEVICE)
    inputs: dict[str, Any] = {"image": pictures}
    for stage, names in (("stage0", {"image", "light_label"}), ("stage1", {"image"})):
        steps = pipeline.stages[stage].run(Batch(inputs, {}, [None] * 4))
        goes_on = [step.next for step in steps if step.next]
        assert len(goes_on) == 4
        for row, following in enumerate(goes_on):
            assert set(following.inputs) == names
            assert (following.inputs["image"] == pictures[row]).all()
        if stage == "stage0":
            inputs = {name: DEVICE.collate([n.inputs[name] for n in goes_on]) for name in names}
            assert inputs["light_label"].tolist() == [
                int(step.answer.outputs["label"]) for step in steps if step.answer
            ]


@pytest.mark.parametrize("poisoned", ["logits", "nearest"])
def test_a_conversion_that_is_not_finite_fails_its_row_alone(tmp_path: Path, poisoned: Any) -> None:
    path = write_gated(tmp_path, converter=make_converter(poisoned=poisoned))
    pictures = make_pictures(5)
    clean = _convert(build(path, DEVICE), pictures, [0] * 5)
    pictures[2] = make_poison()
    steps = _convert(build(path, DEVICE), pictures, [0] * 5)
    assert steps[2] == Step(clean[2].macs, None, None)
    for row in (0, 1, 3, 4):
        assert (steps[row].answer is None) == (clean[row].answer is None)
        assert (steps[row].next is None) == (clean[row].next is None)


def test_a_picture_of_which_the_light_net_makes_nan_fails_there(tmp_path: Path) -> None:
    pictures = np.stack([make_pictures(1)[0], make_poison()])
    stage = build(write_gated(tmp_path), DEVICE).stages["stage0"]
    steps = stage.run(Batch({"image": pictures}, {"min_confidence": np.ones(2)}, [None] * 2))
    assert steps[0].answer is not None
    assert steps[1] == Step(7840, None, None)


def _drop_threshold(table: dict[str, Any]) -> None:
    del table["stages"][1]["threshold"]


def _keep_stages(count: int) -> Callable[[dict[str, Any]], None]:
    def change(table: dict[str, Any]) -> None:
        table["stages"] = table["stages"][:count]
        table["stages"][-1].pop("threshold", None)

    return change


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"options": {}}, "options.max_distance: Field required"),
        ({"max_distance": -1.0}, "options.max_distance"),
        ({"options": {"max_distance": 0.1, "agree": "no"}}, "options.agree"),
        ({"options": {"max_distance": True}}, "options.max_distance"),
        ({"options": {"max_distance": 0.1, "score": "margin"}}, "options.score"),
        ({"options": {"max_distance": 0.1, "combine": "last"}}, "options.combine"),
        ({"change": _drop_threshold}, "stage1 has no threshold"),
        ({"change": _keep_stages(2)}, "pipeline cbnet-gated needs exactly 3 stages; it has 2"),
        ({"change": _keep_stages(1)}, "pipeline cbnet-gated needs exactly 3 stages; it has 1"),
        (
            {"converter": make_net(np.random.default_rng(0), 0, 10, poison=False)},
            r"stage1.onnx: stage stage1: outputs are logits FP32 \[-1, 10\]; "
            r"missing are distance FP32 \[-1\]",
        ),
    ],
)
def test_a_directory_that_makes_no_gate_is_refused_and_the_fault_named(
    tmp_path: Path, arguments: dict[str, Any], named: str
) -> None:
    directory = write_gated(tmp_path, **arguments)
    with pytest.raises(ModelDirectoryError, match=named) as caught:
        build(directory, DEVICE)
    assert str(directory) in str(caught.value)
