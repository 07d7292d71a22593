"""Runs a newly loaded route for the first time: this fills caches and measures its batch times.

Rows of zeros go through the stages, wherever a stage sends them next. They ask for a confidence
that no answer reaches, so that the later stages of a cascade run too.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from itertools import islice

import numpy as np

from core.devices.interface import Device
from core.messages import Array, Batch, StateHandle, Step
from routes.walk import UNREACHABLE_CONFIDENCE, make_zero_row, release, walk
from serving.engine.catalog import ServedRoute
from serving.scheduling.lanes import Lane

_MAX_STEPS = 16
_REPEATS = 3


def warm_up(served: ServedRoute, device: Device) -> None:
    """Run every stage that rows of zeros reach, with one row and with a full batch; set the
    predicted batch times of the lanes.
    """

    def measure(stage: str, inputs: Mapping[str, Array], state: StateHandle | None) -> Step:
        return _measure(served.lanes[stage], inputs, state, device)

    entry, inputs = served.entry.stage.name, make_zero_row(served.manifest)
    unseen = set(served.lanes)
    with closing(walk(entry, inputs, measure)) as steps:
        for stage, step in islice(steps, _MAX_STEPS):
            unseen.discard(stage)
            if step.next is None or step.next.stage not in unseen:
                return


def _measure(
    lane: Lane, inputs: Mapping[str, Array], state: StateHandle | None, device: Device
) -> Step:
    def run(rows: int) -> tuple[float, Step]:
        batch = Batch(
            {name: device.collate([array] * rows) for name, array in inputs.items()},
            {"min_confidence": np.full(rows, UNREACHABLE_CONFIDENCE)},
            [state] * rows,
        )
        started = time.perf_counter()
        steps = lane.stage.run(batch)
        seconds = time.perf_counter() - started
        for step in steps[1:]:
            release(None if step.next is None else step.next.state, state)
        return seconds, steps[0]

    def time_s(rows: int) -> float:
        seconds, step = run(rows)
        release(None if step.next is None else step.next.state, state)
        return seconds

    time_s(1)
    one_s = min(time_s(1) for _ in range(_REPEATS))
    many_s = min(time_s(lane.max_batch) for _ in range(_REPEATS))
    lane.times.calibrate(one_s, many_s, lane.max_batch)
    return run(1)[1]
