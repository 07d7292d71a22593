"""The device's compute thread: collates rows, runs the stage, returns the steps to the event loop.

A batch that raises is run again in halves, so that only the faulty rows fail; rows that cannot
share a batch get their own. Running again is safe because stages are re-entrant and keep nothing.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from core.devices import Device
from core.messages import Batch, Step
from monitoring.log_lines import describe_error
from serving.scheduling.lanes import Flight, Lane

FAILED = Step(0, None, None)  # neither an answer nor a next stage: the row failed

# Lane, flights, their steps, seconds inside the stage, CPU seconds of them.
Done = Callable[[Lane, list[Flight], Sequence[Step], float, float], None]

_log = logging.getLogger("sparing.stage")


class BatchThread:
    """Runs one batch at a time on its own thread; calls `done` on the event loop."""

    def __init__(self, device: Device, loop: asyncio.AbstractEventLoop, done: Done) -> None:
        self._device = device
        self._loop = loop
        self._done = done
        self._jobs: queue.SimpleQueue[tuple[Lane, list[Flight]] | None] = queue.SimpleQueue()
        self._progress: tuple[float, float | None] = (0.0, None)  # done; start of the running one
        self._thread = threading.Thread(
            target=self._work, name=f"device-{device.name}", daemon=True
        )
        self._thread.start()

    def submit(self, lane: Lane, flights: list[Flight]) -> None:
        self._jobs.put((lane, flights))

    def device_s(self) -> float:
        """Return CPU seconds inside stages so far, including the running batch."""
        done_s, began_s = self._progress
        if began_s is None or self._thread.ident is None:
            return done_s
        clock = time.pthread_getcpuclockid(self._thread.ident)
        return done_s + max(0.0, time.clock_gettime(clock) - began_s)

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
        lane, flights = job
        started, began_s = time.perf_counter(), time.thread_time()
        done_s, _ = self._progress
        self._progress = done_s, began_s
        steps = run_batch(self._device, lane, flights)
        cpu_s = time.thread_time() - began_s
        seconds = time.perf_counter() - started
        self._progress = done_s + cpu_s, None
        try:
            self._loop.call_soon_threadsafe(self._done, lane, flights, steps, seconds, cpu_s)
        except RuntimeError:  # the loop is closed: no caller is left
            return False
        return True


def run_batch(device: Device, lane: Lane, flights: Sequence[Flight]) -> Sequence[Step]:
    """Return one step for each flight, in order; FAILED for the faulty ones."""
    try:
        steps = lane.stage.run(collate(device, flights))
        if len(steps) != len(flights):
            raise ValueError(f"{len(steps)} steps for {len(flights)} rows")
        return steps
    except BaseException as error:  # a model's error or a native panic: only its rows fail
        if len(flights) == 1:
            name = lane.stage.name
            _log.error(
                "stage %s failed: %s", name, _log_failure(error, flights), extra={"about": name}
            )
            return [FAILED]
        half = len(flights) // 2
        return [
            *run_batch(device, lane, flights[:half]),
            *run_batch(device, lane, flights[half:]),
        ]


def _log_failure(error: BaseException, flights: Sequence[Flight]) -> str:
    """Return the error for the log, without input texts that a runtime may quote."""
    rows = (np.asarray(array).dtype for one in flights for array in one.inputs.values())
    has_texts = any(dtype.kind in "OSU" for dtype in rows)
    return type(error).__name__ if has_texts else describe_error(error)


def collate(device: Device, flights: Sequence[Flight]) -> Batch:
    """Join rows of several requests to one batch; a control that a row does not set is NaN.

    Raises ValueError for rows with different input names, which cannot share a batch.
    """
    for flight in flights:
        if len(flight.inputs) != len(flights[0].inputs):  # a different name gives a KeyError
            raise ValueError("rows of one batch have different inputs")
    inputs = {
        name: device.collate([flight.inputs[name] for flight in flights])
        for name in flights[0].inputs
    }
    names: set[str] = set()
    for flight in flights:
        if flight.controls:
            names.update(flight.controls)
    controls: Mapping[str, np.ndarray] = {
        name: np.array([flight.controls.get(name, np.nan) for flight in flights]) for name in names
    }
    return Batch(inputs, controls, [flight.state for flight in flights])
