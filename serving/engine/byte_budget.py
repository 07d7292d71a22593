"""Bytes that requests under way hold, in all and of each caller, against a limit."""


class ByteBudget:
    """Knows no bodies: whoever takes bytes gives them back."""

    def __init__(self, limit_bytes: int, of_caller_bytes: int | None = None) -> None:
        self._limit_bytes = limit_bytes
        self.of_caller_bytes = limit_bytes if of_caller_bytes is None else of_caller_bytes
        self.by_caller: dict[str, int] = {}  # by caller, those who hold some
        self.held_bytes = 0

    def lacks(self, new_bytes: int, caller: str = "") -> int:
        """By how many bytes there is too little room for this caller; none where not above 0."""
        return max(
            self.held_bytes + new_bytes - self._limit_bytes,
            self.by_caller.get(caller, 0) + new_bytes - self.of_caller_bytes,
        )

    def add(self, new_bytes: int, caller: str = "") -> None:
        """Take so many, or give them back where negative."""
        self.held_bytes += new_bytes
        held = self.by_caller.get(caller, 0) + new_bytes
        if held:
            self.by_caller[caller] = held
        else:
            self.by_caller.pop(caller, None)

    def describe_lack(self, new_bytes: int, caller: str = "") -> str:
        """Why so many more cannot be had, for a caller's eyes."""
        who, held, allowed = "", self.held_bytes, self._limit_bytes
        if held + new_bytes <= allowed:
            who, held = " of this caller", self.by_caller.get(caller, 0)
            allowed = self.of_caller_bytes
        return f"requests{who} under way hold {held} bytes, allowed {allowed} together; try again"
