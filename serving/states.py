"""Counts the bytes that rows' states hold on a device, and frees each state exactly once."""

from core.errors import Overloaded
from core.messages import Handle
from serving.lanes import Flight


class StateLedger:
    """The device's memory for states, up to a limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def exchange(self, flight: Flight, state: Handle | None) -> None:
        """Give the flight its new state and free the old one; Overloaded when the new one has no
        room.
        """
        old = flight.state
        if old is state:
            return
        flight.state = None
        if old is not None:
            self.used_bytes -= old.size_bytes
            old.free()
        if state is None:
            return
        if self.used_bytes + state.size_bytes > self.limit_bytes:
            state.free()
            raise Overloaded(
                f"the device has no room for another {state.size_bytes} bytes of state "
                f"({self.used_bytes} of {self.limit_bytes} are in use)"
            )
        self.used_bytes += state.size_bytes
        flight.state = state
