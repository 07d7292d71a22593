"""The device's one compute thread: collates rows, runs the stage, hands the steps back to the loop.

A batch that raises is run again in halves, so that only the rows at fault fail, and rows that
cannot share a batch get their own. Re-running is right because stages are re-entrant and keep
nothing.
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

FAILED = Step(0, None, None)  # neither answer nor next: the row has failed

# lane, flights, their steps, seconds inside the stage and CPU seconds of them
Done = Callable[[Lane, list[Flight], Sequence[Step], float, float], None]

_log = logging.getLogger("sparing.stage")


class BatchThread:
    """Runs one batch at a time on its own thread; `done` is called on the event loop."""

    def __init__(self, device: Device, loop: asyncio.AbstractEventLoop, done: Done) -> None:
        self._device = device
        self._loop = loop
        self._done = done
        self._jobs: queue.SimpleQueue[tuple[Lane, list[Flight]] | None] = queue.SimpleQueue()
        self._progress: tuple[float, float | None] = (0.0, None)  # done, and when the batch began
        self._thread = threading.Thread(
            target=self._work, name=f"device-{device.name}", daemon=True
        )
        self._thread.start()

    def submit(self, lane: Lane, flights: list[Flight]) -> None:
        self._jobs.put((lane, flights))

    def device_s(self) -> float:
        """CPU seconds inside stages so far, the batch that runs now included."""
        done_s, began_s = self._progress
        if began_s is None or self._thread.ident is None:
            return done_s
        clock = time.pthread_getcpuclockid(self._thread.ident)
        return done_s + max(0.0, time.clock_gettime(clock) - began_s)

    def close(self) -> None:
        """End the thread after the batch that runs now."""
        self._jobs.put(None)
        self._thread.join(timeout=5.0)

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Wait for a batch and run it; false when there will be no more. A function of its own, so
        that a waiting thread refers to no route, which may have been replaced.
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
        except RuntimeError:  # the loop has been closed: no caller is left
            return False
        return True


def run_batch(device: Device, lane: Lane, flights: Sequence[Flight]) -> Sequence[Step]:
    """One step a flight, in order; FAILED for those at fault."""
    try:
        steps = lane.stage.run(collate(device, flights))
        if len(steps) != len(flights):
            raise ValueError(f"{len(steps)} steps for {len(flights)} rows")
        return steps
    except BaseException as error:  # somebody's model, a native one's panic: it fails its rows only
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
    """For the log. A runtime may quote texts that it was given: those are the caller's alone."""
    rows = (np.asarray(array).dtype for one in flights for array in one.inputs.values())
    has_texts = any(dtype.kind in "OSU" for dtype in rows)
    return type(error).__name__ if has_texts else describe_error(error)


def collate(device: Device, flights: Sequence[Flight]) -> Batch:
    """Rows of several requests as one batch; a control that a row does not set is NaN. Raises
    ValueError for rows with inputs of other names, which can share no batch.
    """
    for flight in flights:
        if len(flight.inputs) != len(flights[0].inputs):  # as many, but others: a KeyError below
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
