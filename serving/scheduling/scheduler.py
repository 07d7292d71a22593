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
from core.errors import DeadlineExceeded, SparingError, StageFailed
from core.messages import Outcomes, StoppedBy
from serving.scheduling.batch_wait import BatchWait
from serving.scheduling.billing import Billing
from serving.scheduling.device_thread import BatchThread, DeviceThread, MakeDeviceThread
from serving.scheduling.fair_shares import Claim, Shares
from serving.scheduling.lane_choice import LaneChoice
from serving.scheduling.lanes import Lane
from serving.scheduling.prediction import predict_wait_s
from serving.scheduling.progress import Health, Progress
from serving.scheduling.rows.batch_results import (
    DONE,
    FAILED,
    REFUSED,
    BatchResults,
    divide,
    find_next,
)
from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.costs import add_macs, find_over_budget, share, spend
from serving.scheduling.rows.delivery import deliver, deliver_cached, deliver_to, stream
from serving.scheduling.rows.interfaces import Waiter
from serving.scheduling.rows.states import StateMemory
from serving.scheduling.rows.traced_rows import trace_batch

_log = logging.getLogger("sparing.scheduler")


# Called once for every block that ends: with the final answers of its rows and their positions in
# them, or None if there are none to store.
OnFinished = Callable[[Block, Outcomes | None, Sequence[int]], None]


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
        self._billing = Billing()
        self.states = StateMemory(device.state_limit_bytes)
        self._worker: DeviceThread = make_device_thread(device, loop, self._done)

    def close(self) -> None:
        self._closed = True
        self._worker.close()

    def enqueue(self, block: Block, lane: Lane, now: float) -> None:
        """Put a block into a lane; an idle device takes it at the end of this loop iteration."""
        self._give_up_unneeded(block)
        if block.done:
            return
        for part in block.divide_by_joins() if block.joins else (block,):
            self._push(part, lane, now)

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

    def leave(self, block: Block, waiting: Waiter) -> None:
        """Remove one waiting call from a block; rows for which no call waits are given up."""
        if waiting is block.call:
            block.call = None
        if waiting in block.joins:
            block.joins.pop(waiting)  # type: ignore[attr-defined]
        if block.done or block.call is not None:
            return
        if not block.is_needed():
            self._give_up(block)
        elif block.queued and len(block) > 1:
            self._give_up_unneeded(block)

    def cut_short(self, block: Block, waiting: Waiter) -> None:
        """Deliver the best answers so far to one waiting call, or an error if there are none."""
        if waiting is not block.call and waiting not in block.joins:
            return
        if block.answers is None:
            waiting.fail(DeadlineExceeded("no stage could answer before the request's deadline"))
        else:
            deliver_to(block, waiting, "deadline", self._clock())
        self.leave(block, waiting)

    def finish_from_cache(self, block: Block, outcomes: Outcomes, at: Sequence[int]) -> None:
        """End rows that the cache holds after all: deliver the answers, compute nothing."""
        deliver_cached(block, outcomes, at, self._clock())
        self._end(block, None, ())

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

    def _begin(self, lane: Lane, batch: list[Block]) -> None:
        """Start the rows of a batch that can still be in time, if there are any."""
        now = self._clock()
        batch_s = lane.times.predict_s(sum([len(block) for block in batch]))
        fit = [block for block in batch if not self._release_late_waiters(block, now + batch_s)]
        if not fit:
            return
        for block in fit:
            self._give_up_unneeded(block)
            block.running = True
        self._billing.charge(lane.charges, batch_s)
        self._busy_until = now + batch_s
        self._running = lane
        self._progress.begin(now, batch_s)
        self._worker.submit(lane, fit)

    def _give_up_unneeded(self, block: Block) -> None:
        """Give up rows of a block, whose own call has left, for which no other call waits."""
        if block.call is not None or block.done:
            return
        needed = block.find_needed()
        gone = [place for place, row in enumerate(block.rows) if row not in needed]
        if len(gone) == len(block):
            self._give_up(block)
        elif gone:
            self._give_up(block.lane.carve(block, gone) if block.queued else block.split(gone))

    def _fail_all(self, lane: Lane, batch: Sequence[Block]) -> None:
        """Fail the rows of a batch after an internal error or an invalid result of its stage."""
        _log.exception("a batch of stage %s failed", lane.stage.name)
        for block in batch:
            block.running = False
            if block.done:  # given up while it ran
                self.states.exchange(block, None)
            else:
                self._fail(block, StageFailed(f"stage {lane.stage.name} failed on this input"))

    def _release_late_waiters(self, block: Block, done_at: float) -> bool:
        """Release the calls that cannot wait until `done_at`; return True if none is left."""
        late = [
            one
            for one in block.waiters()
            if one.deadline is not None and done_at > one.deadline - self._margin_s
        ]
        for waiting in late:
            self.cut_short(block, waiting)
        return block.done

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
            self._fail_all(lane, [block for block in batch if block.running])
        finally:
            self._dispatch()

    def exclude_pause(self, seconds: float) -> None:
        """Ignore a time in which this loop could not run."""
        self._progress.exclude_pause(seconds)

    def health(self) -> Health:
        """Return whether batches end, for probes; also called at intervals, so that stalls are
        logged.
        """
        lane = self._running or next((one for one in self._waiting if one.rows), None)
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
        lane.times.observe(rows, run_s)
        begun = sum([len(block) for block in batch if not block.steps])
        lane.row_cost.observe(rows if lane.is_first else begun, run_s)
        started = now - run_s
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
            refused = self.states.exchange(block, states) if states is not None else ()
        except Exception:
            self._fail_all(lane, [block])
            return 0
        if block.done:  # given up while it ran
            self.states.exchange(block, None)
            spend(block, block.answers, block.at)
            return 0
        groups = results.group(start, len(block), refused)
        escalated = 0
        for kind, part, positions in divide(block, groups, start):
            try:
                escalated += self._settle(part, lane, results, kind, positions, now)
            except SparingError as error:
                self._fail(part, error)
            except Exception:  # an invalid step fails its rows, never the lane
                _log.exception("stage %s returned an invalid step", lane.stage.name)
                name = lane.stage.name
                self._fail(part, StageFailed(f"stage {name} returned an invalid step"))
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
        if kind == REFUSED:
            raise self.states.overload()
        if kind == FAILED:
            raise StageFailed(f"stage {lane.stage.name} failed on this input")
        if kind == DONE:
            assert answers is not None
            stopped_by: StoppedBy = "last_stage" if lane.is_last else "confidence"
            deliver(block, answers, positions, stopped_by, now)
            self._end(block, answers, positions)
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
            if self._release_late_waiters(block, done_at):
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
            self.leave(block, waiting)
        self._give_up_unneeded(block)
        if block.done:
            return 0
        rows = len(block)
        self.enqueue(block, lane, now)
        return rows

    # The end of a block ---------------------------------------------------------------------------

    def _fail(self, block: Block, error: SparingError) -> None:
        for waiting in list(block.waiters()):
            waiting.fail(error, block.rows_of(waiting))
        if not block.done:
            self._end(block, None, ())

    def _give_up(self, block: Block) -> None:
        if block.running:  # its batch is on the device: the steps will be discarded
            block.done = True
            block.owner = None
            self._on_finished(block, None, ())
            return
        if block.queued:
            block.lane.forget(block)
        self._end(block, None, ())

    def _end(self, block: Block, outcomes: Outcomes | None, at: Sequence[int]) -> None:
        block.done = True
        block.owner = None
        if block.states is not None:
            self.states.exchange(block, None)
        if outcomes is None:
            spend(block, block.answers, block.at)
        else:
            spend(block, outcomes, at)
        self._on_finished(block, outcomes, at)
