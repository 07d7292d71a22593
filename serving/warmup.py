"""First runs of a freshly loaded route: they fill caches and tell how long its batches take.

Rows of zeros follow the stages wherever they send them on, with a confidence asked for that no
answer has, so that a cascade's later stages are reached too.
"""

import time
from collections.abc import Mapping

import numpy as np

from core.datatypes import DATATYPES
from core.devices import Device
from core.manifest import Manifest, TensorSpec
from core.messages import Array, Batch, Handle, Step
from serving.engine.catalog import ServedRoute
from serving.scheduling.lanes import Lane

_MOST_STEPS = 16
_REPEATS = 3
_UNREACHABLE_CONFIDENCE = 2.0


def warm_up(served: ServedRoute, device: Device) -> None:
    """Run every stage that zeros reach, with one row and a full batch; set the lanes' times."""
    lane: Lane | None = served.entry
    inputs: Mapping[str, Array] = _zeros(served.manifest)
    state: Handle | None = None
    seen: set[str] = set()
    while lane is not None and lane.stage.name not in seen and len(seen) < _MOST_STEPS:
        seen.add(lane.stage.name)
        goes_on = _measure(lane, inputs, state, device).next
        _free(state, None if goes_on is None else goes_on.state)
        if goes_on is None:
            return
        inputs, state = goes_on.inputs, goes_on.state
        lane = lane.lanes.get(goes_on.stage)
    _free(state, None)


def _measure(lane: Lane, inputs: Mapping[str, Array], state: Handle | None, device: Device) -> Step:
    def run(rows: int) -> tuple[float, Step]:
        batch = Batch(
            {name: device.collate([array] * rows) for name, array in inputs.items()},
            {"min_confidence": np.full(rows, _UNREACHABLE_CONFIDENCE)},
            [state] * rows,
        )
        started = time.perf_counter()
        steps = lane.stage.run(batch)
        seconds = time.perf_counter() - started
        for step in steps[1:]:
            _free(None if step.next is None else step.next.state, state)
        return seconds, steps[0]

    def time_s(rows: int) -> float:
        seconds, step = run(rows)
        _free(None if step.next is None else step.next.state, state)
        return seconds

    time_s(1)
    one_s = min(time_s(1) for _ in range(_REPEATS))
    many_s = min(time_s(lane.max_batch) for _ in range(_REPEATS))
    lane.times.calibrate(one_s, many_s, lane.max_batch)
    return run(1)[1]


def _free(state: Handle | None, kept: Handle | None) -> None:
    """Free a state, unless it is the one that goes on to be used."""
    if state is not None and state is not kept:
        state.free()


def _zeros(manifest: Manifest) -> Mapping[str, np.ndarray]:
    return {spec.name: _zero_row(spec) for spec in manifest.inputs}


def _zero_row(spec: TensorSpec) -> np.ndarray:
    shape = [max(size, 1) for size in spec.shape[1:]]
    if spec.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, DATATYPES[spec.datatype])
