"""Bytes that requests under way hold, in total and for each caller, against a limit."""

from core.errors import Overloaded


class ByteBudget:
    """Counts bytes only; the code that takes bytes must give them back."""

    def __init__(self, limit_bytes: int, of_caller_bytes: int | None = None) -> None:
        self._limit_bytes = limit_bytes
        self.of_caller_bytes = limit_bytes if of_caller_bytes is None else of_caller_bytes
        self.by_caller: dict[str, int] = {}  # callers that hold bytes
        self.held_bytes = 0

    def lacks(self, new_bytes: int, caller: str = "") -> int:
        """Return how many bytes are missing for this caller's request; 0 or less if it fits."""
        return max(
            self.held_bytes + new_bytes - self._limit_bytes,
            self.by_caller.get(caller, 0) + new_bytes - self.of_caller_bytes,
        )

    def add(self, new_bytes: int, caller: str = "") -> None:
        """Add bytes; negative numbers give them back."""
        self.held_bytes += new_bytes
        held = self.by_caller.get(caller, 0) + new_bytes
        if held:
            self.by_caller[caller] = held
        else:
            self.by_caller.pop(caller, None)

    def try_take(self, new_bytes: int, caller: str = "") -> bool:
        """Add bytes if they fit, and return whether they did."""
        held, all_held = self.by_caller.get(caller, 0) + new_bytes, self.held_bytes + new_bytes
        if all_held > self._limit_bytes or held > self.of_caller_bytes:
            return False
        self.held_bytes = all_held
        if held:
            self.by_caller[caller] = held
        return True

    def take(self, new_bytes: int, caller: str = "") -> None:
        """Add bytes that must fit. Raises Overloaded if they do not."""
        if not self.try_take(new_bytes, caller):
            raise Overloaded(self.describe_lack(new_bytes, caller))

    def describe_lack(self, new_bytes: int, caller: str = "") -> str:
        """Return a sentence for the caller that says why its bytes do not fit."""
        who, held, allowed = "", self.held_bytes, self._limit_bytes
        if held + new_bytes <= allowed:
            who, held = " of this caller", self.by_caller.get(caller, 0)
            allowed = self.of_caller_bytes
        return f"requests{who} under way hold {held} bytes, allowed {allowed} in total; try again"
