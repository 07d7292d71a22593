"""`min_confidence = 1`: the last stage answers, always and alone, at its own cost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascades.dual_cnn import build
from core.classifiers.classifier import find_below_requested
from core.devices.onnx import OnnxDevice
from core.messages import Batch, Outcome, Pipeline, Request
from harness.tiny_routes import make_pictures, write_route
from monitoring.metrics.switched_off import NoMetrics
from routes.loading import load_route
from routes.offline import run_offline
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from tests.fakes.toys import with_engine
from tests.serving.scheduling.stepped import Stepped, count_rows

DEVICE = OnnxDevice()
LAST = {"min_confidence": 1.0}
MACS = (7840, 14896)  # of the tiny route's two stages


def ask(served: ServedRoute, pictures: Any, **fields: Any) -> Request:
    return Request(served.name, {"image": pictures}, **fields)


def serve(root: Path, **options: Any) -> ServedRoute:
    loaded = load_route(write_route(root, **options), DEVICE)
    names = [stage.name for stage in loaded.manifest.stages]
    counts = NoMetrics().add_route(loaded.manifest.route, names)
    return ServedRoute(loaded.manifest, loaded.pipeline, counts, is_cached=False)


def say(pipeline: Pipeline, pictures: Any) -> list[Outcome]:
    """What the last stage says by itself, taken as a route of one stage."""
    extra = np.zeros((len(pictures), 12))
    batch = Batch(
        {"image": pictures, "so_far": extra},
        {"min_confidence": np.ones(len(pictures))},
        [None] * len(pictures),
    )
    steps = pipeline.stages["stage1"].run(batch)
    return [step.answer for step in steps if step.answer is not None]


def same(found: Outcome, wanted: Outcome) -> bool:
    return (
        found.exit == wanted.exit
        and found.confidence == wanted.confidence
        and all(
            np.array_equal(found.outputs[name], wanted.outputs[name]) for name in wanted.outputs
        )
    )


@pytest.mark.parametrize("combine", ["post_check", "last", "average"])
def test_the_last_stage_is_run_alone_and_answers_alone(tmp_path: Path, combine: str) -> None:
    served = serve(tmp_path, combine=combine, thresholds=[0.6])
    pictures = make_pictures(16)
    wanted = say(served.pipeline, pictures)

    async def use(engine: Engine) -> None:
        reply = await engine.answer(ask(served, pictures, controls=LAST))
        assert [answer.macs for answer in reply.answers] == [MACS[1]] * 16
        assert {answer.stopped_by for answer in reply.answers} == {"last_stage"}
        for answer, outcome, row in zip(
            reply.answers,
            wanted,
            run_offline(served.pipeline, {"image": pictures}, DEVICE, LAST),
            strict=True,
        ):
            assert answer.outcome.exit == "stage1"
            assert same(answer.outcome, outcome)
            assert row.outcome is not None and same(row.outcome, outcome)
            assert row.stages == ("stage1",)

    with_engine(use, served)


@pytest.mark.parametrize("combine", ["post_check", "average"])
def test_a_row_that_went_all_the_way_gets_the_same_answer(tmp_path: Path, combine: str) -> None:
    served = serve(tmp_path, combine=combine, thresholds=[0.6])
    pictures = make_pictures(16)
    wanted = say(served.pipeline, pictures)

    async def use(engine: Engine) -> None:
        reply = await engine.answer(ask(served, pictures, controls=LAST, energy_mj=1e9))
        assert [answer.macs for answer in reply.answers] == [sum(MACS)] * 16
        for answer, outcome in zip(reply.answers, wanted, strict=True):
            assert same(answer.outcome, outcome)

    with_engine(use, served)


def test_rows_of_both_kinds_share_a_batch_and_change_nothing(tmp_path: Path) -> None:
    served = serve(tmp_path, combine="average", thresholds=[0.9])
    pictures = make_pictures(8)
    stepped = Stepped(served)
    stepped.submit(ask(served, pictures))
    stepped.spin()
    stepped.loop.call_soon(stepped.thread.end, 0.01)  # survivors are queued, nothing runs yet
    call = stepped.submit(ask(served, pictures, controls=LAST))
    stepped.finish()
    assert call is not None and stepped.ends == ["ok", "ok"]
    batches = [(lane.stage.name, count_rows(blocks)) for lane, blocks in stepped.thread.taken]
    assert len(batches) == 2 and batches[1][0] == "stage1" and batches[1][1] > 8
    for answer, outcome in zip(
        stepped.engine.result(call).answers, say(served.pipeline, pictures), strict=True
    ):
        assert same(answer.outcome, outcome)


def test_without_time_for_the_last_stage_the_first_one_answers(tmp_path: Path) -> None:
    served = serve(tmp_path, thresholds=[0.6])
    served.lanes["stage1"].times.calibrate(5.0, 5.0, 32)
    stepped = Stepped(served)
    deadline = stepped.clock.now + 1.0
    call = stepped.submit(ask(served, make_pictures(1), controls=LAST, deadline=deadline))
    assert stepped.finish() == ["ok"]
    assert call is not None and [part.stopped_by for part in call.parts] == ["deadline"]


def test_a_first_stage_that_is_as_sure_as_can_be_is_not_enough() -> None:
    rows = Batch({}, {"min_confidence": np.array([1.0, 0.99, np.nan])}, [None] * 3)
    assert find_below_requested(rows, np.ones(3)).tolist() == [True, False, False]


def test_a_route_of_one_stage_has_nothing_to_skip(tmp_path: Path) -> None:
    pipeline = build(write_route(tmp_path, stages=1), DEVICE)
    assert pipeline.direct is None
