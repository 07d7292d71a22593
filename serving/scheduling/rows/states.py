"""Reserves and counts the bytes of rows' states on a device, and frees each state exactly once."""

import logging
from collections.abc import Sequence
from itertools import accumulate

from core.messages import StateHandle
from serving.scheduling.rows.blocks import Block

_log = logging.getLogger("sparing.states")


class StateMemory:
    """The device memory of rows' states, up to a limit in bytes.

    A row reserves what it may need before its first stage runs, and gives it back when it ends.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.reserved_bytes = 0
        self.used_bytes = 0  # of it, by states

    def count_fitting(self, needs: Sequence[int]) -> int:
        """Return how many rows, from the first on, could reserve what they need."""
        free_bytes = self.limit_bytes - self.reserved_bytes
        return sum([total <= free_bytes for total in accumulate(needs)])

    def reserve(self, block: Block) -> None:
        """Reserve what the block's rows need; it must fit."""
        block.reserved = True
        self.reserved_bytes += sum(block.needs)

    def exchange(self, block: Block, states: Sequence[StateHandle | None]) -> list[int]:
        """Give the block's rows their new states, which may be the old ones extended, and free the
        old ones. Return the positions of rows whose new state is larger than they reserved; it is
        freed.
        """
        new = list(states)
        self.used_bytes -= sum(block.state_bytes)
        kept = {id(state) for state in new}
        for state in block.states or ():
            if state is not None and id(state) not in kept:
                _free(state)
        sizes = [0] * len(new)
        exceeding = []
        reserved = block.needs or sizes
        for place, state in enumerate(new):
            if state is None:
                continue
            if state.size_bytes > reserved[place]:
                _free(state)
                new[place] = None
                exceeding.append(place)
                continue
            sizes[place] = state.size_bytes
        self.used_bytes += sum(sizes)
        keeps = any(state is not None for state in new)
        block.states, block.state_bytes = (new, sizes) if keeps else (None, [])
        return exceeding

    def release(self, block: Block) -> None:
        """Free the states of rows that ended, and what they reserved."""
        if block.states is not None:
            self.exchange(block, [None] * len(block))
        if block.reserved:
            block.reserved = False
            self.reserved_bytes -= sum(block.needs)


def _free(state: StateHandle) -> None:
    """Free a state. A failure is logged, for it concerns the device and not the row or its lane."""
    try:
        state.free()
    except Exception:
        _log.exception("a row's state could not be freed")
