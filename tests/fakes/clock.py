"""A clock that a test moves by hand."""


class Clock:
    """Called, it gives the seconds that the test set."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s
