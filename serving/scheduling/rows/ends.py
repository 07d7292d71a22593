"""How blocks end: done, failed, cut short, answered by a cache, or given up by their callers.

Whatever the way, the block's states and reservations are given back, its cost is counted, and
`on_finished` is called once.
"""

import logging
from collections.abc import Callable, Sequence

from core.errors import DeadlineExceeded, SparingError, StageFailed
from core.messages import Outcomes
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.costs import spend
from serving.scheduling.rows.delivery import deliver_cached, deliver_to
from serving.scheduling.rows.interfaces import Waiter
from serving.scheduling.rows.states import StateMemory

_log = logging.getLogger("sparing.scheduler")

# Called once for every block that ends: with the final answers of its rows and their positions in
# them, or None if there are none to store.
OnFinished = Callable[[Block, Outcomes | None, Sequence[int]], None]


class BlockEnds:
    """Ends the blocks of one device."""

    __slots__ = ("_clock", "_margin_s", "_on_finished", "_on_released", "_states")

    def __init__(
        self,
        states: StateMemory,
        on_finished: OnFinished,
        on_released: Callable[[], object],  # memory for states may be free, or none wait for it
        clock: Callable[[], float],
        reply_margin_s: float,
    ) -> None:
        self._states = states
        self._on_finished = on_finished
        self._on_released = on_released
        self._clock = clock
        self._margin_s = reply_margin_s

    def end(self, block: Block, outcomes: Outcomes | None, at: Sequence[int]) -> None:
        """End a block with the final answers of its rows and their positions; None: without."""
        block.done = True
        block.owner = None
        if block.needs or block.states is not None:
            self._release(block)
        if outcomes is None:
            spend(block, block.answers, block.at)
        else:
            spend(block, outcomes, at)
        self._on_finished(block, outcomes, at)

    def end_given_up(self, block: Block) -> None:
        """End a block that was given up while it ran."""
        self._release(block)
        spend(block, block.answers, block.at)

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
            self.give_up_unneeded(block)

    def leave_row(self, block: Block, waiting: Waiter, row: int) -> None:
        """Remove one row of a waiting call, which has noted that the row's client is gone."""
        self._leave_joined(block, waiting, row)
        if not block.queued:  # it is dropped before the block's next stage
            return
        if waiting is block.call and row in block.rows and row in block.find_needed():
            part = block.lane.carve(block, block.places_of([row]))
            part.call = None  # from now on the first that joined it pays
        elif 2 * len(block.find_gone()) >= len(block):  # not for each: it copies the rows that stay
            self.give_up_unneeded(block)

    def _leave_joined(self, block: Block, waiting: Waiter, row: int) -> None:
        """Let a call's row wait no longer for a row of the block that it joined."""
        pairs = block.joins.get(waiting, [])
        left = [pair for pair in pairs if pair[1] != row]
        if len(left) == len(pairs):
            return
        if left:
            block.joins[waiting] = left  # type: ignore[index]
        elif waiting is block.call:
            block.joins.pop(waiting)  # type: ignore[attr-defined]
        else:
            self.leave(block, waiting)

    def cut_short(self, block: Block, waiting: Waiter) -> None:
        """Deliver the best answers so far to one waiting call, or an error if there are none."""
        if waiting is not block.call and waiting not in block.joins:
            return
        if block.answers is None:
            waiting.fail(DeadlineExceeded("no stage could answer before the request's deadline"))
        else:
            deliver_to(block, waiting, "deadline", self._clock())
        self.leave(block, waiting)

    def release_late(self, block: Block, done_at: float) -> bool:
        """Release the calls that cannot wait until `done_at`; return True if none is left."""
        if not block.joins and (block.call is None or block.call.deadline is None):
            return block.done
        late = [
            one
            for one in block.waiters()
            if one.deadline is not None and done_at > one.deadline - self._margin_s
        ]
        for waiting in late:
            self.cut_short(block, waiting)
        return block.done

    def finish_from_cache(self, block: Block, outcomes: Outcomes, at: Sequence[int]) -> None:
        """End rows that the cache holds after all: deliver the answers, compute nothing."""
        deliver_cached(block, outcomes, at, self._clock())
        self.end(block, None, ())

    def give_up_unneeded(self, block: Block) -> None:
        """Give up rows of a block whose own client has left and for which no other call waits."""
        gone = block.find_gone()
        if len(gone) == len(block):
            self._give_up(block)
        elif gone:
            self._give_up(block.lane.carve(block, gone) if block.queued else block.split(gone))

    def fail(self, block: Block, error: SparingError) -> None:
        """End a block with an error for every call that waits for it."""
        for waiting in list(block.waiters()):
            waiting.fail(error, block.rows_of(waiting))
        if not block.done:
            self.end(block, None, ())

    def fail_all(self, lane: Lane, batch: Sequence[Block]) -> None:
        """Fail the rows of a batch after an internal error or an invalid result of its stage."""
        _log.exception("a batch of stage %s failed", lane.stage.name)
        for block in batch:
            block.running = False
            if block.done:  # given up while it ran
                self._release(block)
            else:
                self.fail(block, StageFailed(f"stage {lane.stage.name} failed on this input"))

    def _give_up(self, block: Block) -> None:
        if block.running:  # its batch is on the device: the steps will be discarded
            block.done = True
            block.owner = None
            self._on_finished(block, None, ())
            return
        if block.queued:
            block.lane.forget(block)
        self.end(block, None, ())

    def _release(self, block: Block) -> None:
        self._states.release(block)
        if block.needs:
            self._on_released()
