"""A call: one request in flight, its rows' answers as they come, the door that waits for them."""

import asyncio
from collections.abc import Sequence

from core.errors import SparingError
from core.messages import Answer, Reply, Request
from serving.catalog import ServedRoute
from serving.lanes import Flight


class Call:
    """Collects the answers of one request; fails as a whole when one of its rows fails."""

    __slots__ = (
        "answers", "deadline", "error", "flights", "future", "missing", "replies", "request",
        "served", "started", "timer",
    )  # fmt: skip

    def __init__(self, request: Request, served: ServedRoute, rows: int, started: float) -> None:
        self.request = request
        self.served = served
        self.started = started
        self.deadline = request.deadline
        self.answers: list[Answer | None] = [None] * rows
        self.missing = rows
        self.flights: list[tuple[Flight, int]] = []
        self.error: SparingError | None = None
        self.future: asyncio.Future[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        # of a streaming request only; None ends it
        self.replies: asyncio.Queue[Reply | None] | None = (
            asyncio.Queue() if request.stream else None
        )

    @property
    def streams(self) -> bool:
        return self.replies is not None

    @property
    def over(self) -> bool:
        return self.missing == 0 or self.error is not None

    def deliver(self, row: int, answer: Answer) -> None:
        """The last word on one row."""
        if self.answers[row] is not None or self.error is not None:
            return
        self.answers[row] = answer
        self.missing -= 1
        self.served.metrics.row(answer.outcome.exit, answer.stopped_by, answer.latency_s)
        if self.replies is not None:
            self.replies.put_nowait(self.reply([answer], rows=[row], final=self.missing == 0))
        if self.missing == 0:
            self._wake()

    def progress(self, row: int, answer: Answer) -> None:
        """A better answer for one row, with more to come; only streams hear of it."""
        if self.replies is not None and not self.over:
            self.replies.put_nowait(self.reply([answer], rows=[row], final=False))

    def fail(self, error: SparingError) -> None:
        if not self.over:
            self.error = error
            self._wake()

    def reply(
        self, answers: Sequence[Answer], *, rows: Sequence[int] | None = None, final: bool = True
    ) -> Reply:
        manifest = self.served.manifest
        return Reply(
            manifest.route,
            manifest.version,
            self.served.digest,
            manifest.certificate,
            "none",
            answers,
            rows,
            final,
        )

    def _wake(self) -> None:
        if self.replies is not None:
            self.replies.put_nowait(None)
        if self.future is not None and not self.future.done():
            self.future.set_result(None)
