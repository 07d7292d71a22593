"""A group call: requests of one row each that came together, computed as the rows of one call.

Each row is answered, fails and is released as if its request were alone; only the work of
admitting, queueing and delivering is shared.
"""

from collections.abc import Callable, Sequence

from core.errors import SparingError
from core.messages import Request, RowAnswers
from monitoring.tracing.traces import NO_TRACE, Trace
from serving.engine.calls import Call, count_rows
from serving.engine.catalog import ServedRoute

Failure = tuple[SparingError, Sequence[int]]  # and the rows that failed


class GroupCall(Call):
    """Collects answers until the endpoint takes them. `done` is called when there is something to
    take; it may only schedule that.

    Its requests have no deadline, no energy budget and no trace, and do not stream.
    """

    __slots__ = ("_failed", "_told", "gone", "requests")

    def __init__(
        self,
        request: Request,
        served: ServedRoute,
        parts: list[RowAnswers],  # what the cache holds
        missing: int,  # rows without an answer
        started: float,
        done: Callable[[], object] | None,
        trace: Trace = NO_TRACE,
    ) -> None:
        super().__init__(request, served, parts, missing, started, done, trace)
        self.gone: set[int] = set()
        self.requests = missing + sum([len(part.rows) for part in parts])
        self._failed: list[Failure] = []
        self._told = False

    def take(self) -> tuple[Sequence[RowAnswers], Sequence[Failure]]:
        """Return what ended since the last time: answers, and failures."""
        parts, failed = self.parts, self._failed
        self.parts, self._failed, self._told = [], [], False
        return parts, failed

    def tell(self) -> None:
        """Say that there are answers if the cache held some from the start."""
        if self.parts:
            self._wake()

    def deliver(self, part: RowAnswers) -> None:
        """Store the final answers of rows."""
        self.parts.append(part)
        self.missing -= len(part.rows)
        count_rows(self.served, part)
        self._wake()

    def fail(self, error: SparingError, rows: Sequence[int] = ()) -> None:
        """End these rows with an error."""
        self._failed.append((error, rows))
        self.missing -= len(rows)
        self._wake()

    def _wake(self) -> None:
        if not self._told and self.done is not None:
            self._told = True
            self.done()
