"""How a command fails: one sentence on stderr and an exit code, never a traceback."""


class Failure(Exception):
    """`str(failure)` is the whole sentence; 1: it could not be done, 2: it was asked wrongly."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
