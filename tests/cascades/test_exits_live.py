"""Early exits in a live engine: rows of different requests share a batch again after every exit."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.devices.onnx import OnnxDevice
from core.messages import Batch, Request, Stage, Step
from harness.tiny_routes import make_pictures
from harness.waiting import until
from monitoring.metrics.switched_off import NoMetrics
from routes.loading import load_route
from routes.offline import run_offline
from serving.engine.catalog import ServedRoute
from serving.engine.engine import Engine
from tests.fakes.tiny_kinds import write_exits
from tests.fakes.toys import (
    ToyPipeline,
    ToyStage,
    final,
    serve_toy,
    with_engine,
)

DEVICE = OnnxDevice()


class Watched:
    """A real stage that keeps the sizes of its batches."""

    def __init__(self, stage: Stage) -> None:
        self.name = stage.name
        self.batches: list[int] = []
        self._stage = stage

    def run(self, rows: Batch) -> Sequence[Step]:
        self.batches.append(len(rows.states))
        return self._stage.run(rows)


def test_survivors_of_two_requests_share_a_batch_at_every_later_exit(tmp_path: Path) -> None:
    loaded = load_route(write_exits(tmp_path, memory=False, max_batch=64), DEVICE)
    watched = {name: Watched(stage) for name, stage in loaded.pipeline.stages.items()}
    served = ServedRoute(
        loaded.manifest,
        ToyPipeline(loaded.pipeline.first, watched, loaded.pipeline.digest),
        NoMetrics().add_route("tiny", list(watched)),
    )
    pictures = make_pictures(40)
    alone = run_offline(loaded.pipeline, {"image": pictures}, DEVICE)
    reached = [sum(len(row.stages) > exits for row in alone) for exits in range(3)]
    for half in (alone[:20], alone[20:]):  # each sends rows to every exit
        assert {len(row.stages) for row in half} == {1, 2, 3}
    gate = threading.Event()
    blocking = ToyStage("only", lambda x: final(x, "only"), gate=gate)

    async def use(engine: Engine) -> None:
        first = Request("toy", {"x": np.array([1.0])})
        blocked = asyncio.create_task(engine.answer(first))
        await until(lambda: len(blocking.batches) == 1)  # the device is taken
        halves = [pictures[:20], pictures[20:]]
        tasks = [
            asyncio.create_task(engine.answer(Request("tiny", {"image": half}))) for half in halves
        ]
        await until(lambda: served.entry.rows == 40)
        gate.set()
        await blocked
        answers = [answer for task in tasks for answer in (await task).answers]
        for answer, row in zip(answers, alone, strict=True):
            assert row.outcome is not None
            assert answer.outcome.exit == row.outcome.exit
            assert answer.macs == row.macs
            given, expected = (
                one.outputs["probabilities"].tobytes() for one in (answer.outcome, row.outcome)
            )
            assert given == expected

    with_engine(use, served, serve_toy(blocking))
    assert [stage.batches for stage in watched.values()] == [[rows] for rows in reached]
