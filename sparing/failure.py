"""The exception that ends a command: one sentence on stderr and an exit code, no traceback."""


class Failure(Exception):
    """`str(failure)` is the whole sentence. Exit codes: 1 for a failure, 2 for wrong usage."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
