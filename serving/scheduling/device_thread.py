"""The device's compute thread: collates blocks, runs the stage, returns steps to the event loop.

A batch that raises is run again in halves, so that only the faulty rows fail, unless the stage says
that it must not run twice on the same rows; rows that cannot share a batch get their own.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from core.columns import Steps, as_steps, take_rows
from core.devices.interface import Device
from core.messages import Array, Batch, StateHandle, Step
from core.parameters import make_column
from monitoring.log_lines import describe_error
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block

FAILED = Step(0, None, None)  # neither an answer nor a next stage: the row failed

# Lane, blocks, their steps, seconds inside the stage, and those of the device's clock.
Done = Callable[[Lane, list[Block], Steps, float, float], None]

_log = logging.getLogger("sparing.stage")


class DeviceThread(Protocol):
    """Runs batches, one at a time, and reports each to the event loop when it is done."""

    def submit(self, lane: Lane, blocks: list[Block], /) -> None: ...
    def device_s(self) -> float: ...
    def close(self) -> None: ...


MakeDeviceThread = Callable[[Device, asyncio.AbstractEventLoop, Done], DeviceThread]


class BatchThread:
    """Runs one batch at a time on its own thread; calls `done` on the event loop."""

    def __init__(self, device: Device, loop: asyncio.AbstractEventLoop, done: Done) -> None:
        self._device = device
        self._loop = loop
        self._done = done
        self._jobs: queue.SimpleQueue[tuple[Lane, list[Block]] | None] = queue.SimpleQueue()
        self._clock = device.make_clock()
        self.device_s = self._clock.total_s  # seconds inside stages, including the running batch
        self._thread = threading.Thread(
            target=self._work, name=f"device-{device.name}", daemon=True
        )
        self._thread.start()

    def submit(self, lane: Lane, blocks: list[Block]) -> None:
        self._jobs.put((lane, blocks))

    def close(self) -> None:
        """End the thread after the running batch."""
        self._jobs.put(None)
        self._thread.join(timeout=5.0)

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Wait for a batch and run it; return False when no more will come. It is a separate
        function, so that a waiting thread refers to no route, which may have been replaced.
        """
        job = self._jobs.get()
        if job is None:
            return False
        lane, blocks = job
        result = self._run(lane, blocks)
        try:
            self._loop.call_soon_threadsafe(self._done, lane, blocks, *result)
        except RuntimeError:  # the loop is closed: no caller is left
            return False
        return True

    def _run(self, lane: Lane, blocks: list[Block]) -> tuple[Steps, float, float]:
        """Run a batch; return its steps, its seconds, and those of the device's clock."""
        started, device_s = time.perf_counter(), 0.0
        try:
            self._clock.begin()
            try:
                steps = run_batch(self._device, lane, blocks)
            finally:
                device_s = self._clock.end()
        except BaseException:  # a fault of this module must not end the thread
            _log.exception("a batch of stage %s could not be run", lane.stage.name)
            steps = as_steps([FAILED] * sum([len(block) for block in blocks]))
        return steps, time.perf_counter() - started, device_s


def run_batch(device: Device, lane: Lane, blocks: Sequence[Block]) -> Steps:
    """Return the steps of the blocks' rows, in order; FAILED for the faulty ones."""
    try:
        return _run_stage(lane, collate(device, blocks), sum([len(block) for block in blocks]))
    except BaseException as error:  # a model's error or a native panic: only its rows fail
        rows = [one for block in blocks for one in _split_rows(block)]
        if len(rows) == 1 or not getattr(lane.stage, "repeatable", True):
            _log_failure(lane, error, blocks)
            return as_steps([FAILED] * len(rows))
        half = len(rows) // 2
        parts = (rows[:half], rows[half:])
        return as_steps([step for part in parts for step in _run_rows(device, lane, part)])


def _run_rows(device: Device, lane: Lane, rows: Sequence["_Row"]) -> Sequence[Step]:
    """Run single rows as one batch, and in halves if it raises."""
    try:
        return _run_stage(lane, collate(device, rows), len(rows))
    except BaseException as error:
        if len(rows) == 1:
            _log_failure(lane, error, rows)
            return [FAILED]
        half = len(rows) // 2
        parts = (rows[:half], rows[half:])
        return [step for part in parts for step in _run_rows(device, lane, part)]


def _run_stage(lane: Lane, batch: Batch, rows: int) -> Steps:
    steps = as_steps(lane.stage.run(batch))
    if len(steps) != rows:
        raise ValueError(f"{len(steps)} steps for {rows} rows")
    return steps


class _Row:
    """A row of a block, with what a batch takes from it."""

    __slots__ = ("controls", "inputs", "states")

    def __init__(self, block: Block, place: int) -> None:
        self.controls = block.controls
        self.inputs = {
            name: take_rows(column, range(place, place + 1))
            for name, column in block.inputs.items()
        }
        self.states = None if block.states is None else [block.states[place]]

    def __len__(self) -> int:
        return 1


def _split_rows(block: Block) -> list[_Row]:
    return [_Row(block, place) for place in range(len(block))]


def _log_failure(lane: Lane, error: BaseException, blocks: Sequence[Block | _Row]) -> None:
    """Log the error, without input texts that a runtime may quote."""
    columns = [column for block in blocks for column in block.inputs.values()]
    has_texts = any(_is_text(column[0]) for column in columns)
    what = type(error).__name__ if has_texts else describe_error(error)
    name = lane.stage.name
    _log.error("stage %s failed: %s", name, what, extra={"about": name})


def _is_text(row: Array) -> bool:
    """Return whether a row of an input is text. Arrays of other runtimes, which numpy may not be
    able to read, never are.
    """
    if isinstance(row, np.ndarray | np.generic):
        return row.dtype.kind in "OSU"
    return isinstance(row, str | bytes)


def collate(device: Device, blocks: Sequence[Block | _Row]) -> Batch:
    """Join blocks of several requests to one batch; a control that a block does not set is NaN.

    Raises ValueError for blocks with different input names, which cannot share a batch.
    """
    first = blocks[0]
    if len(blocks) == 1:
        rows = len(first)
        inputs: Mapping[str, Array] = {
            name: device.join([column]) for name, column in first.inputs.items()
        }
        controls = {name: make_column([value], [rows]) for name, value in first.controls.items()}
        return Batch(inputs, controls, first.states or [None] * rows)
    for block in blocks:
        if len(block.inputs) != len(first.inputs):  # a different name gives a KeyError
            raise ValueError("rows of one batch have different inputs")
    inputs = {name: device.join([block.inputs[name] for block in blocks]) for name in first.inputs}
    return Batch(inputs, _collate_controls(blocks), _collate_states(blocks))


def _collate_controls(blocks: Sequence[Block | _Row]) -> Mapping[str, np.ndarray]:
    names = {name for block in blocks if block.controls for name in block.controls}
    if not names:
        return {}
    sizes = [len(block) for block in blocks]
    return {
        name: make_column([block.controls.get(name, np.nan) for block in blocks], sizes)
        for name in names
    }


def _collate_states(blocks: Sequence[Block | _Row]) -> Sequence[StateHandle | None]:
    if all(block.states is None for block in blocks):
        return [None] * sum([len(block) for block in blocks])
    return [state for block in blocks for state in block.states or [None] * len(block)]
