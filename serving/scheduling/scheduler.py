"""Gives the device to lanes, moves rows from stage to stage, and delivers answers to waiting calls.

When the device is free, `lane_choice` picks the rows: fairly among callers and their routes
(`fair_shares`), then by when a row is due, which is at its deadline or a fixed patience after its
arrival, whichever is earlier. The device takes what is queued and never idles to wait for more.
Survivors of a stage join the next stage's lane beside rows of any other request: without this
re-batching, the later stages of an adaptive route would run small batches.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from core.devices import Device
from core.errors import DeadlineExceeded, SparingError, StageFailed
from core.messages import Answer, Outcome, Step, StoppedBy
from serving.scheduling.batch_wait import BatchWait
from serving.scheduling.costs import find_over_budget, share, spend
from serving.scheduling.device_thread import BatchThread, Done
from serving.scheduling.fair_shares import Charge, Claim, Shares
from serving.scheduling.interfaces import Waiter
from serving.scheduling.lane_choice import LaneChoice
from serving.scheduling.lanes import Flight, Lane
from serving.scheduling.prediction import predict_wait_s
from serving.scheduling.progress import Health, Progress
from serving.scheduling.states import StateMemory
from serving.scheduling.traced_rows import trace_batch

_log = logging.getLogger("sparing.scheduler")

MAX_STEPS = 2**16  # for one row: a pipeline that sends a row on forever fails it


class DeviceThread(Protocol):
    """Runs batches, one at a time, and reports each to the event loop when it is done."""

    def submit(self, lane: Lane, flights: list[Flight], /) -> None: ...
    def device_s(self) -> float: ...
    def close(self) -> None: ...


MakeDeviceThread = Callable[[Device, asyncio.AbstractEventLoop, Done], DeviceThread]

# Called once for every flight that ends: with its final answer, or None if there is none to store.
OnFinished = Callable[[Flight, Outcome | None], None]


class Scheduler:
    """Schedules one device. Lives on the event loop; only stages run on the device's thread."""

    def __init__(
        self,
        device: Device,
        loop: asyncio.AbstractEventLoop,
        on_finished: OnFinished,
        *,
        reply_margin_s: float,
        rebatch_stages: bool,
        stalled_after_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        make_device_thread: MakeDeviceThread = BatchThread,
    ) -> None:
        self._loop = loop
        self._on_finished = on_finished
        self._margin_s = reply_margin_s
        self._rebatch = rebatch_stages
        self._clock = clock
        self._lane_choice = LaneChoice()
        self._batch_wait = BatchWait()
        self._progress = Progress(stalled_after_s)
        self._running: Lane | None = None  # lane of the batch on the device
        self._waiting: dict[Lane, None] = {}  # lanes that hold rows, in order of first use
        self._dispatch_due = False
        self._arrived = 0  # rows put into lanes so far
        self._busy_until: float | None = None  # predicted end of the running batch
        self._closed = False
        self.traced = 0  # calls under way with a trace
        self.shares = Shares()
        self._bills: Sequence[Charge] = ()  # charges for the running batch
        self._charged_s = 0.0
        self.states = StateMemory(device.state_limit_bytes)
        self._worker: DeviceThread = make_device_thread(device, loop, self._done)

    def close(self) -> None:
        self._closed = True
        self._worker.close()

    def enqueue(self, flight: Flight, lane: Lane, now: float) -> None:
        """Put a row into a lane; an idle device takes it at the end of this loop iteration."""
        lane.push(flight, now)
        self._arrived += 1
        idle = self._busy_until is None
        if idle and not self._waiting:
            self._progress.begin(now)
        self._waiting[lane] = None
        if idle and not self._dispatch_due:
            self._dispatch_due = True
            self._batch_wait.begin(now)
            self._loop.call_soon(self._dispatch)

    def leave(self, flight: Flight, waiting: Waiter, row: int) -> None:
        """Remove one waiting call from a flight; the flight is given up if no call is left."""
        flight.waiters.pop((waiting, row), None)
        if not flight.waiters and not flight.done:
            self._give_up(flight)

    def cut_short(self, flight: Flight, waiting: Waiter, row: int) -> None:
        """Deliver the best answer so far to one waiting call, or an error if there is none."""
        if flight.answer is None:
            waiting.fail(DeadlineExceeded("no stage could answer before the request's deadline"))
        else:
            _deliver(flight, waiting, row, flight.answer, "deadline", self._clock())
        self.leave(flight, waiting, row)

    def finish_from_cache(self, flight: Flight, outcome: Outcome) -> None:
        """End a row that the cache holds after all: deliver the answer, compute nothing."""
        now, zero_mj = self._clock(), flight.lane.metrics.energy.zero_mj
        for waiting, row in flight.waiters:
            answer = Answer(outcome, "cache", True, 0, zero_mj, now - waiting.started)
            waiting.deliver(row, answer)
        self._end(flight, None)

    def predict_s(
        self, lane: Lane, due: float, now: float, rows: int = 1, claim: Claim | None = None
    ) -> float:
        """Return the seconds until `rows` rows that enter this lane now, due at `due`, have been
        through its stage; `claim` is their call's.
        """
        busy_s = max(0.0, self._busy_until - now) if self._busy_until is not None else 0.0
        return busy_s + predict_wait_s(self._waiting, lane, claim or lane.claim, due, rows)

    # Batches ----------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Give the idle device a batch; a small one only when the loop brings no more rows to it.
        Every pass of this loop takes rows out of a lane, so it ends.
        """
        self._dispatch_due = False
        while self._busy_until is None and not self._closed:
            if self._batch_wait.is_quiet(self._arrived):
                self._dispatch_due = True
                self._loop.call_soon(self._dispatch)
                return
            queue = self._lane_choice.choose(self._waiting)
            if queue is None:
                self._waiting.clear()
                return
            lane = queue.lane
            if self._batch_wait.should_wait(lane, self._arrived, self._clock()):
                self._dispatch_due = True
                self._loop.call_soon(self._dispatch)
                return
            batch = lane.take(queue, one_call=not self._rebatch and not lane.is_first)
            if not batch:
                lane.drop(queue)  # so that this loop ends in any case
            if lane.rows == 0:
                del self._waiting[lane]
            try:
                self._begin(lane, batch)
            except Exception:
                self._fail_all(lane, batch)

    def _begin(self, lane: Lane, batch: list[Flight]) -> None:
        """Start the rows of a batch that can still be in time, if there are any."""
        now = self._clock()
        batch_s = lane.times.predict_s(len(batch))
        fit = [flight for flight in batch if not self._release_late_waiters(flight, now + batch_s)]
        if not fit:
            return
        for flight in fit:
            flight.running = True
        self._charge(lane.charges, batch_s)
        self._busy_until = now + batch_s
        self._running = lane
        self._progress.begin(now, batch_s)
        self._worker.submit(lane, fit)

    def _charge(self, charges: Sequence[Charge], batch_s: float) -> None:
        self._bills, self._charged_s = charges, batch_s
        rows = sum([charge.rows for charge in charges])
        for charge in charges:
            charge.share.charge(batch_s * charge.rows / rows, charge.start_s)

    def _settle_charges(self, run_s: float) -> None:
        """Correct the charges for a batch to the measured time."""
        charges, more_s = self._bills, run_s - self._charged_s
        self._bills = ()
        rows = sum([charge.rows for charge in charges])
        for charge in charges:
            charge.share.correct(more_s * charge.rows / rows)

    def _fail_all(self, lane: Lane, batch: Sequence[Flight]) -> None:
        """Fail the rows of a batch after an internal error or an invalid result of its stage."""
        _log.exception("a batch of stage %s failed", lane.stage.name)
        for flight in batch:
            flight.running = False
            if flight.done:  # given up while it ran
                self.states.exchange(flight, None)
            else:
                self._fail(flight, StageFailed(f"stage {lane.stage.name} failed on this input"))

    def _release_late_waiters(self, flight: Flight, done_at: float) -> bool:
        """Release the calls that cannot wait until `done_at`; return True if none is left."""
        late = [
            one
            for one in flight.waiters
            if one[0].deadline is not None and done_at > one[0].deadline - self._margin_s
        ]
        for waiting, row in late:
            self.cut_short(flight, waiting, row)
        return flight.done

    def device_s(self) -> float:
        """Return CPU seconds inside stages so far."""
        return self._worker.device_s()

    def _done(
        self, lane: Lane, batch: list[Flight], steps: Sequence[Step], run_s: float, cpu_s: float
    ) -> None:
        now = self._clock()
        self._busy_until = self._running = None
        self._settle_charges(run_s)
        self._progress.begin(now)
        self._batch_wait.begin(now)
        self._dispatch_due = True  # queue the survivors first, then start the next batch once
        try:
            share(batch, steps, cpu_s)
            self._finish_batch(lane, batch, steps, run_s, now)
        except Exception:
            self._fail_all(lane, [flight for flight in batch if flight.running])
        finally:
            self._dispatch()

    def exclude_pause(self, seconds: float) -> None:
        """Ignore a time in which this loop could not run: it is no evidence about batches."""
        self._progress.exclude_pause(seconds)

    def health(self) -> Health:
        """Return whether batches end, for probes; also called at intervals, so that stalls are
        logged.
        """
        lane = self._running or next((one for one in self._waiting if one.rows), None)
        return self._progress.judge(lane, self._clock())

    def _finish_batch(
        self, lane: Lane, batch: list[Flight], steps: Sequence[Step], run_s: float, now: float
    ) -> None:
        lane.times.observe(len(batch), run_s)
        begun = len(batch) if lane.is_first else sum([not flight.steps for flight in batch])
        lane.row_cost.observe(begun, run_s)
        started = now - run_s
        if self.traced:
            trace_batch(lane, batch, started, now)
        queued_s = [started - flight.queued_at for flight in batch]
        escalated = 0
        for flight, step in zip(batch, steps, strict=True):
            try:
                escalated += self._advance(flight, lane, step, now)
            except SparingError as error:
                self._fail(flight, error)
            except Exception:  # an invalid step fails its row, never the lane
                _log.exception("stage %s returned an invalid step", lane.stage.name)
                self._fail(flight, StageFailed(f"stage {lane.stage.name} returned an invalid step"))
        lane.metrics.count_batch(lane.stage.name, len(batch), queued_s, run_s)
        if escalated:
            lane.metrics.count_escalation(lane.stage.name, escalated)

    def _advance(self, flight: Flight, lane: Lane, step: Step, now: float) -> bool:
        """Finish the row or queue it for its next stage; return True if there is one."""
        flight.running = False
        flight.macs += step.macs
        flight.spent_macs += step.macs
        goes_on = step.next
        self.states.exchange(flight, None if goes_on is None else goes_on.state)
        if flight.done:  # given up while it ran
            self.states.exchange(flight, None)
            spend(flight, flight.answer)
            return False
        if step.answer is not None:
            if not 0.0 <= step.answer.confidence <= 1.0:  # also refuses NaN
                raise StageFailed(f"stage {lane.stage.name} returned a confidence outside [0, 1]")
            flight.answer = step.answer
        if goes_on is None:
            self._finish(flight, lane, step.answer, now)
            return False
        next_lane = _find_next(flight, lane, goes_on.stage)
        if step.answer is not None:
            _stream(flight, step.answer, now)
        flight.inputs = goes_on.inputs
        if self._misses_deadline(flight, next_lane, now) or self._exceeds_energy_budget(
            flight, next_lane, now
        ):
            return False
        self.enqueue(flight, next_lane, now)
        return next_lane is not lane

    def _misses_deadline(self, flight: Flight, lane: Lane, now: float) -> bool:
        if all(waiting.deadline is None for waiting, _ in flight.waiters):
            return False
        return self._release_late_waiters(
            flight, now + self.predict_s(lane, flight.due, now, claim=flight.claim)
        )

    def _exceeds_energy_budget(self, flight: Flight, lane: Lane, now: float) -> bool:
        """Answer the calls whose energy budget does not cover the next stage with the answer so
        far; return True if none is left.
        """
        for waiting, row in find_over_budget(flight, lane):
            assert flight.answer is not None
            _deliver(flight, waiting, row, flight.answer, "energy", now)
            self.leave(flight, waiting, row)
        return flight.done

    # The end of a flight --------------------------------------------------------------------------

    def _finish(self, flight: Flight, lane: Lane, answer: Outcome | None, now: float) -> None:
        if answer is None:
            raise StageFailed(f"stage {lane.stage.name} failed on this input")
        stopped_by: StoppedBy = "last_stage" if lane.is_last else "confidence"
        for waiting, row in flight.waiters:
            _deliver(flight, waiting, row, answer, stopped_by, now)
        self._end(flight, answer)

    def _fail(self, flight: Flight, error: SparingError) -> None:
        for waiting, _ in flight.waiters:
            waiting.fail(error)
        if not flight.done:
            self._end(flight, None)

    def _give_up(self, flight: Flight) -> None:
        if flight.is_audit:  # otherwise only quick rows would ever be audited
            return
        if flight.running:  # its batch is on the device: the step will be discarded
            flight.done = True
            self._on_finished(flight, None)
            return
        if flight.queued:
            flight.lane.forget(flight)
        self._end(flight, None)

    def _end(self, flight: Flight, outcome: Outcome | None) -> None:
        flight.done = True
        self.states.exchange(flight, None)
        spend(flight, outcome or flight.answer)
        self._on_finished(flight, outcome)


def _find_next(flight: Flight, lane: Lane, stage: str) -> Lane:
    """Return the lane of the row's next stage. Raises StageFailed."""
    flight.steps += 1
    if flight.steps > MAX_STEPS:
        raise StageFailed(f"stage {lane.stage.name} sends rows on forever")
    if (following := lane.lanes.get(stage)) is None:
        raise StageFailed(f"stage {lane.stage.name} sends rows to an unknown stage")
    return following


def _deliver(
    flight: Flight, waiting: Waiter, row: int, outcome: Outcome, stopped_by: StoppedBy, now: float
) -> None:
    """Deliver an answer. Only the first call that gets it is charged for the work, so that sums
    over replies are correct.
    """
    waiting.deliver(row, _answer(flight, outcome, stopped_by, waiting, now))
    flight.macs = 0
    flight.told_s = flight.device_s


def _stream(flight: Flight, outcome: Outcome, now: float) -> None:
    """Deliver the answer so far to the calls that stream."""
    for waiting, row in flight.waiters:
        if waiting.streams:
            waiting.progress(row, _answer(flight, outcome, "", waiting, now))


def _answer(
    flight: Flight,
    outcome: Outcome,
    stopped_by: StoppedBy | Literal[""],
    waiting: Waiter,
    now: float,
) -> Answer:
    energy_mj = flight.lane.metrics.energy.estimate_mj(flight.device_s - flight.told_s)
    return Answer(outcome, stopped_by, False, flight.macs, energy_mj, now - waiting.started)
