"""Counts the bytes that rows' states hold on a device, and frees each state exactly once."""

import logging

from core.errors import Overloaded
from core.messages import StateHandle
from serving.scheduling.lanes import Flight

_log = logging.getLogger("sparing.states")


class StateMemory:
    """The device memory of rows' states, up to a limit in bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def exchange(self, flight: Flight, state: StateHandle | None) -> None:
        """Give the flight its new state, which may be the old one extended, and free the old one.
        Raises Overloaded if the new one does not fit.
        """
        old = flight.state
        if old is None and state is None:
            return
        self.used_bytes -= flight.state_bytes
        flight.state, flight.state_bytes = None, 0
        if old is not None and old is not state:
            _free(old)
        if state is None:
            return
        size_bytes = state.size_bytes
        if self.used_bytes + size_bytes > self.limit_bytes:
            _free(state)
            raise Overloaded(
                f"the device has no memory for another {size_bytes} bytes of state "
                f"({self.used_bytes} of {self.limit_bytes} are in use)"
            )
        self.used_bytes += size_bytes
        flight.state, flight.state_bytes = state, size_bytes


def _free(state: StateHandle) -> None:
    """Free a state. A failure is logged, for it concerns the device and not the row or its lane."""
    try:
        state.free()
    except Exception:
        _log.exception("a row's state could not be freed")
