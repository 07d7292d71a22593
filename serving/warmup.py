"""Runs a newly loaded route for the first time: this fills caches and measures its batch times.

Rows of zeros go through the stages, wherever a stage sends them next. They ask for a confidence
that no answer reaches, so that the later stages of a cascade run too.
"""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import count, islice

import numpy as np

from cache.fingerprint import Fingerprinter
from cache.ghost_queue import SLOT_BYTES
from cache.local_cache import LocalCache
from cache.s3_fifo import ENTRY_BYTES
from core.columns import repeat_row
from core.devices.interface import Device
from core.errors import ModelDirectoryError
from core.messages import Array, Batch, Control, StateHandle, Step
from core.parameters import make_column
from routes.walk import UNREACHABLE_CONFIDENCE, make_zero_row, release, walk
from serving.engine.catalog import ServedRoute
from serving.scheduling.lanes import Lane

_MAX_STEPS = 16
_REPEATS = 3
_ENOUGH_S = 2.0  # of runs of one size; a slow stage is not run again after that
_CACHED_ROWS = 16  # in a measurement of the cache, unless they are large
_CACHED_BYTES = 2**23  # of these rows together; at least one row
_KEPT = 64  # answers that fill the cache of that measurement, unless they are large


def warm_up(served: ServedRoute, device: Device) -> None:
    """Run every stage that rows of zeros reach, with one row and with a full batch, or with as many
    rows as the device has memory for; set the predicted batch times of the lanes.

    Raises ModelDirectoryError where not even one row's state fits.
    """

    path: list[Lane] = []
    most = _count_fitting(served, device)
    served.cache_row_s = measure_cache_row(served)
    controls = {**served.defaults, "min_confidence": UNREACHABLE_CONFIDENCE}

    def measure(stage: str, inputs: Mapping[str, Array], state: StateHandle | None) -> Step:
        lane = served.lanes[stage]
        if state is None or getattr(lane.stage, "repeatable", True):
            _measure(lane, most, lambda rows: _make_batch(device, rows, inputs, controls, state))
        else:  # each run needs states of its own
            _measure(lane, most, lambda rows: _lead(served, device, path, rows, controls))
        path.append(lane)
        return lane.stage.run(_make_batch(device, 1, inputs, controls, state))[0]

    entry, inputs = served.entry.stage.name, make_zero_row(served.manifest)
    unseen = set(served.lanes)
    with closing(walk(entry, inputs, measure)) as steps:
        for stage, step in islice(steps, _MAX_STEPS):
            unseen.discard(stage)
            if step.next is None or step.next.stage not in unseen:
                return


def measure_cache_row(served: ServedRoute) -> float:
    """Return the seconds that a full local cache takes for a row: its fingerprint, a lookup that
    fails, and storing its answer in place of another. 0 if an output's size is not known before.
    """
    if served.failed is None:
        return 0.0
    zeros = make_zero_row(served.manifest)
    row_bytes = max(1, sum(array.nbytes for array in zeros.values()))
    rows = max(1, min(_CACHED_ROWS, _CACHED_BYTES // row_bytes))
    inputs = {name: np.repeat(array[None], rows, axis=0) for name, array in zeros.items()}
    maker = Fingerprinter(bytes(16))
    prefix = maker.prefix("", served.name, served.pipeline.digest, {})
    answers = repeat_row(served.failed, rows)
    answer_bytes = sum([np.asarray(column).nbytes for column in served.failed.outputs.values()])
    kept = max(1, min(_KEPT, _CACHED_BYTES // max(1, answer_bytes)))
    memory = LocalCache(kept * (ENTRY_BYTES + SLOT_BYTES + answer_bytes))
    names = (number.to_bytes(16, "little") for number in count())  # zeros all have the same key
    for name in islice(names, 2 * kept):
        memory.put_rows([name], served.failed, range(1))
    best_s = math.inf
    for _ in range(_REPEATS):
        answers.packed = ()
        others = list(islice(names, rows))
        started = time.perf_counter()
        maker.row_keys(prefix, inputs)
        memory.find(others)
        memory.put_rows(others, answers, range(rows))
        best_s = min(best_s, time.perf_counter() - started)
    return best_s / rows


def _count_fitting(served: ServedRoute, device: Device) -> int:
    """Return how many rows of zeros have memory for their states at once."""
    if served.state_needs is None:
        return sys.maxsize
    inputs = {name: array[None] for name, array in make_zero_row(served.manifest).items()}
    need = int(np.asarray(served.state_needs(inputs, {}))[0])
    if need > device.state_limit_bytes:
        raise ModelDirectoryError(
            f"{served.manifest.route}: the shortest request needs {need:,} bytes of state, the "
            f"device {device.name} has {device.state_limit_bytes:,}; raise its state_limit_bytes, "
            "or engine.state_limit_bytes"
        )
    return device.state_limit_bytes // max(1, need)


def _measure(lane: Lane, most: int, make: Callable[[int], Batch]) -> None:
    def time_s(rows: int) -> float:
        batch = make(rows)
        started = time.perf_counter()
        steps = lane.stage.run(batch)
        seconds = time.perf_counter() - started
        for step, state in zip(steps, batch.states, strict=True):
            release(None if step.next is None else step.next.state, state)
        return seconds

    many = min(lane.max_batch, most)
    first_s = time_s(1)
    one_s = _find_least_s(lambda: time_s(1), first_s)
    many_s = _find_least_s(lambda: time_s(many)) if many > 1 else one_s
    lane.times.calibrate(one_s, many_s, many)


def _find_least_s(time_s: Callable[[], float], first_s: float = 0.0) -> float:
    """Return the shortest of a few runs. Where the first one, which fills caches, took long
    enough, it counts.
    """
    if first_s > _ENOUGH_S:
        return first_s
    times_s: list[float] = []
    while len(times_s) < _REPEATS and sum(times_s) <= _ENOUGH_S:
        times_s.append(time_s())
    return min(times_s)


def _lead(
    served: ServedRoute,
    device: Device,
    path: Sequence[Lane],
    rows: int,
    controls: Mapping[str, Control],
) -> Batch:
    """Lead rows of zeros along a path of stages; return their batch for the stage after it."""
    batch = _make_batch(device, rows, make_zero_row(served.manifest), controls, None)
    for lane in path:
        onward = [step.next for step in lane.stage.run(batch) if step.next is not None]
        inputs = {
            name: device.collate([one.inputs[name] for one in onward]) for name in onward[0].inputs
        }
        batch = Batch(inputs, batch.controls, [one.state for one in onward])
    return batch


def _make_batch(
    device: Device,
    rows: int,
    inputs: Mapping[str, Array],
    controls: Mapping[str, Control],
    state: StateHandle | None,
) -> Batch:
    return Batch(
        {name: device.collate([array] * rows) for name, array in inputs.items()},
        {name: make_column([value], [rows]) for name, value in controls.items()},
        [state] * rows,
    )
