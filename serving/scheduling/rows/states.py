"""Counts the bytes that rows' states hold on a device, and frees each state exactly once."""

import logging
from collections.abc import Sequence

from core.errors import Overloaded
from core.messages import StateHandle
from serving.scheduling.rows.blocks import Block

_log = logging.getLogger("sparing.states")


class StateMemory:
    """The device memory of rows' states, up to a limit in bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._refused_bytes = 0  # of the last state that did not fit

    def exchange(self, block: Block, states: Sequence[StateHandle | None] | None) -> list[int]:
        """Give the block's rows their new states, which may be the old ones extended, and free the
        old ones. Return the positions of rows whose new state does not fit; it is freed.
        """
        old = block.states
        if old is None and states is None:
            return []
        new: list[StateHandle | None] = list(states or [None] * len(block))
        self.used_bytes -= sum(block.state_bytes)
        kept = {id(state) for state in new}
        for state in old or ():
            if state is not None and id(state) not in kept:
                _free(state)
        sizes = [0] * len(new)
        refused = []
        for place, state in enumerate(new):
            if state is None:
                continue
            if self.used_bytes + state.size_bytes > self.limit_bytes:
                self._refused_bytes = state.size_bytes
                _free(state)
                new[place] = None
                refused.append(place)
                continue
            sizes[place] = state.size_bytes
            self.used_bytes += state.size_bytes
        keeps = any(state is not None for state in new)
        block.states, block.state_bytes = (new, sizes) if keeps else (None, [])
        return refused

    def overload(self) -> Overloaded:
        """Return the error of a row whose state did not fit."""
        return Overloaded(
            f"the device has no memory for another {self._refused_bytes} bytes of state "
            f"({self.used_bytes} of {self.limit_bytes} are in use)"
        )


def _free(state: StateHandle) -> None:
    """Free a state. A failure is logged, for it concerns the device and not the row or its lane."""
    try:
        state.free()
    except Exception:
        _log.exception("a row's state could not be freed")
