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

from core.columns import Steps
from core.devices.interface import Device
from core.errors import SparingError, StageFailed
from core.messages import StoppedBy
from serving.scheduling.batch_wait import BatchWait
from serving.scheduling.billing import Billing
from serving.scheduling.device_thread import BatchThread, DeviceThread, MakeDeviceThread
from serving.scheduling.fair_shares import Claim, Shares
from serving.scheduling.lane_choice import LaneChoice
from serving.scheduling.lanes import Lane
from serving.scheduling.prediction import predict_wait_s
from serving.scheduling.progress import Health, Progress
from serving.scheduling.reservations import Reservations
from serving.scheduling.rows.batch_results import (
    DONE,
    EXCEEDING,
    FAILED,
    BatchResults,
    divide,
    find_next,
)
from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.costs import (
    add_macs,
    average_cost_share,
    count_generation,
    find_over_budget,
    share,
)
from serving.scheduling.rows.delivery import deliver, deliver_to, stream
from serving.scheduling.rows.ends import BlockEnds, OnFinished
from serving.scheduling.rows.states import StateMemory
from serving.scheduling.rows.traced_rows import trace_batch

_log = logging.getLogger("sparing.scheduler")


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
        self._billing = Billing()
        self.states = StateMemory(device.state_limit_bytes)
        self._reservations = Reservations(self.states)
        self._admit_due = False
        ends = BlockEnds(self.states, on_finished, self._on_released, clock, reply_margin_s)
        self._ends = ends
        self.leave, self.cut_short = ends.leave, ends.cut_short
        self.leave_row = ends.leave_row
        self.finish_from_cache = ends.finish_from_cache
        self._worker: DeviceThread = make_device_thread(device, loop, self._done)

    def close(self) -> None:
        self._closed = True
        self._worker.close()

    def enqueue(self, block: Block, lane: Lane, now: float) -> None:
        """Put a block into a lane; an idle device takes it at the end of this loop iteration."""
        self._ends.give_up_unneeded(block)
        if block.done:
            return
        for part in block.divide_by_joins() if block.joins else (block,):
            if part.needs and not part.reserved:
                self._reservations.add(part, lane, now)
                self._admit()
            else:
                self._push(part, lane, now)

    def _admit(self) -> None:
        """Put the rows for whose states there is memory now into their lanes."""
        self._admit_due = False
        now = self._clock()
        for block, lane in self._reservations.take(now):
            since = block.queued_at
            self._push(block, lane, now)
            block.queued_at = since

    def _on_released(self) -> None:
        if self._reservations and not self._admit_due:
            self._admit_due = True
            self._loop.call_soon(self._admit)

    def _push(self, block: Block, lane: Lane, now: float) -> None:
        lane.push(block, now)
        self._arrived += len(block)
        idle = self._busy_until is None
        if idle and not self._waiting:
            self._progress.begin(now)
        self._waiting[lane] = None
        if idle and not self._dispatch_due:
            self._dispatch_due = True
            self._batch_wait.begin(now)
            self._loop.call_soon(self._dispatch)

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
            queue = self._lane_choice.choose(self._waiting, self._clock())
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
                self._ends.fail_all(lane, batch)

    def _begin(self, lane: Lane, batch: list[Block]) -> None:
        """Start the rows of a batch that can still be in time, if there are any."""
        now = self._clock()
        batch_s = lane.times.predict_s(sum([len(block) for block in batch]))
        if lane.costs_vary:
            batch_s *= average_cost_share(batch) / lane.mean_share
        fit = [block for block in batch if not self._ends.release_late(block, now + batch_s)]
        if not fit:
            return
        for block in fit:
            self._ends.give_up_unneeded(block)
            block.running = not block.done
        fit = [block for block in fit if block.running]
        if not fit:
            return
        self._billing.charge(lane.charges, batch_s)
        self._busy_until = now + batch_s
        self._running = lane
        self._progress.begin(now, batch_s)
        self._worker.submit(lane, fit)

    def device_s(self) -> float:
        """Return CPU seconds inside stages so far."""
        return self._worker.device_s()

    def _done(
        self, lane: Lane, batch: list[Block], steps: Steps, run_s: float, device_s: float
    ) -> None:
        now = self._clock()
        self._busy_until = self._running = None
        self._billing.settle(run_s)
        self._progress.begin(now)
        self._batch_wait.begin(now)
        self._dispatch_due = True  # queue the survivors first, then start the next batch once
        try:
            share(batch, steps, device_s)
            self._finish_batch(lane, batch, steps, run_s, device_s, now)
        except Exception:
            self._ends.fail_all(lane, [block for block in batch if block.running])
        finally:
            if self._admit_due:
                self._admit()
            self._dispatch()

    def exclude_pause(self, seconds: float) -> None:
        """Ignore a time in which this loop could not run."""
        self._progress.exclude_pause(seconds)

    def health(self) -> Health:
        """Return whether batches end, for probes; also called at intervals, so that stalls are
        logged.
        """
        lane = self._running or next((one for one in self._waiting if one.rows), None)
        lane = lane or self._reservations.waiting()
        return self._progress.judge(lane, self._clock())

    def _finish_batch(
        self,
        lane: Lane,
        batch: list[Block],
        steps: Steps,
        run_s: float,
        device_s: float,
        now: float,
    ) -> None:
        rows = len(steps)
        lane.observe(rows, run_s, average_cost_share(batch) if lane.costs_vary else 1.0)
        begun = sum([len(block) for block in batch if not block.steps])
        lane.row_cost.observe(rows if lane.is_first else begun, run_s)
        started = now - run_s
        if lane.metrics.generation is not None:
            count_generation(lane, steps, device_s)
        if self.traced:
            trace_batch(lane, batch, steps, device_s, started, now)
        queued_s = [(started - block.queued_at, len(block)) for block in batch]
        results = BatchResults(steps)
        start = escalated = 0
        for block in batch:
            block_rows = len(block)
            escalated += self._advance(block, lane, results, start, now)
            start += block_rows
        lane.metrics.count_batch(lane.stage.name, rows, queued_s, run_s)
        if escalated:
            lane.metrics.count_escalation(lane.stage.name, escalated)

    def _advance(
        self, block: Block, lane: Lane, results: BatchResults, start: int, now: float
    ) -> int:
        """End the rows that are done and queue the others for their next stage; return how many
        there are of these. The block's rows begin at row `start` of the batch.
        """
        block.running = False
        try:
            add_macs(block, results.steps.macs, start)
            states = results.take_states(block, start)
            exceeding = self.states.exchange(block, states) if states is not None else ()
        except Exception:
            self._ends.fail_all(lane, [block])
            return 0
        if block.done:  # given up while it ran
            self._ends.end_given_up(block)
            return 0
        groups = results.group(start, len(block), exceeding)
        escalated = 0
        for kind, part, positions in divide(block, groups, start):
            try:
                escalated += self._settle(part, lane, results, kind, positions, now)
            except SparingError as error:
                self._ends.fail(part, error)
            except Exception:  # an invalid step fails its rows, never the lane
                _log.exception("stage %s returned an invalid step", lane.stage.name)
                name = lane.stage.name
                self._ends.fail(part, StageFailed(f"stage {name} returned an invalid step"))
        return escalated

    def _settle(
        self,
        block: Block,
        lane: Lane,
        results: BatchResults,
        kind: int,
        positions: Sequence[int],
        now: float,
    ) -> int:
        """End rows of one kind, or queue them for their next stage; return how many go on."""
        answers = results.steps.answers
        if kind == EXCEEDING:
            raise StageFailed(
                f"stage {lane.stage.name} returned a larger state than its pipeline declares"
            )
        if kind == FAILED:
            raise StageFailed(f"stage {lane.stage.name} failed on this input")
        if kind == DONE:
            assert answers is not None
            stopped_by: StoppedBy = "last_stage" if lane.is_last else "confidence"
            deliver(block, answers, positions, stopped_by, now)
            self._ends.end(block, answers, positions)
            return 0
        onward, answered = results.target(kind)
        if answered:
            block.answers, block.at = answers, positions
        next_lane = find_next(block, lane, onward.stage)
        if answered:
            stream(block, now)
        block.inputs = results.take_inputs(onward, positions)
        rows = self._enqueue_in_time(block, next_lane, now)
        return 0 if next_lane is lane else rows

    def _enqueue_in_time(self, block: Block, lane: Lane, now: float) -> int:
        """Queue the rows that can be in time; return how many these are."""
        deadlines = [one.deadline for one in block.waiters() if one.deadline is not None]
        if deadlines:
            rows = len(block)
            done_at = now + self.predict_s(lane, block.due, now, rows, claim=block.claim)
            if rows > 1 and done_at > min(deadlines) - self._margin_s:  # half may be in time
                head = block.split_head(rows // 2)
                queued = self._enqueue_in_time(head, lane, now)
                return queued + self._enqueue_in_time(block, lane, now)
            if self._ends.release_late(block, done_at):
                return 0
        return self._enqueue_within_budget(block, lane, now)

    def _enqueue_within_budget(self, block: Block, lane: Lane, now: float) -> int:
        """Answer the calls whose energy budget does not cover the next stage with the answers so
        far, and queue the rows for which a call still waits; return how many these are.
        """
        over = find_over_budget(block, lane)
        if any(len(places) < len(block) for _, places in over):  # rows that cost different amounts
            parts = block.divide([place] for place in range(len(block)))
            return sum([self._enqueue_within_budget(part, lane, now) for part in parts])
        for waiting, _ in over:
            deliver_to(block, waiting, "energy", now)
            self._ends.leave(block, waiting)
        self._ends.give_up_unneeded(block)
        if block.done:
            return 0
        rows = len(block)
        self.enqueue(block, lane, now)
        return rows
