"""A call: one request in flight, its rows' answers as they arrive, and the endpoint that waits."""

import asyncio
from collections.abc import Callable, Sequence

from core.errors import DeadlineExceeded, SparingError
from core.messages import Answer, Reply, Request
from monitoring.tracing.traces import NO_TRACE, Trace
from serving.engine.catalog import ServedRoute
from serving.scheduling.fair_shares import Claim
from serving.scheduling.lanes import Flight


class Call:
    """Collects the answers of one request; the whole call fails if one of its rows fails."""

    __slots__ = (
        "answers", "claim", "deadline", "done", "energy_mj", "error", "flights", "missing",
        "replies", "request", "served", "started", "timer", "trace",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        served: ServedRoute,
        answers: list[Answer | None],  # by row; None while it is missing
        started: float,
        done: Callable[[], object] | None,  # called once, when the call is over
        trace: Trace = NO_TRACE,
    ) -> None:
        self.request = request
        self.served = served
        self.started = started
        self.deadline = request.deadline
        self.energy_mj = request.energy_mj
        self.answers = answers
        self.missing = answers.count(None)
        self.claim: Claim | None = None  # its position in its share, while rows are computed
        self.flights: list[tuple[Flight, int]] = []
        self.error: SparingError | None = None
        self.done = done
        self.trace = trace
        self.timer: asyncio.TimerHandle | None = None
        self.replies: asyncio.Queue[Reply | None] | None = None  # if it streams; None ends it

    def stream(self) -> "asyncio.Queue[Reply | None]":
        """Return a queue of one reply for each step's answer, beginning with the answers known
        already.
        """
        self.replies = asyncio.Queue()
        known = [(row, answer) for row, answer in enumerate(self.answers) if answer is not None]
        for row, answer in known:
            final = self.missing == 0 and row == known[-1][0]
            self.replies.put_nowait(make_reply(self.served, [answer], rows=[row], final=final))
        if self.missing == 0:
            self._wake()
        return self.replies

    @property
    def streams(self) -> bool:
        return self.replies is not None

    @property
    def over(self) -> bool:
        return self.missing == 0 or self.error is not None

    def deliver(self, row: int, answer: Answer) -> None:
        """Store the final answer of one row."""
        if self.answers[row] is not None or self.error is not None:
            return
        if self.deadline is not None and self.started + answer.latency_s > self.deadline:
            self.fail(DeadlineExceeded("the answer came after the request's deadline"))
            return
        self.answers[row] = answer
        self.missing -= 1
        served = self.served
        exit = answer.outcome.exit
        served.metrics.count_row(exit, answer.stopped_by, answer.latency_s, served.full_macs)
        if self.replies is not None:
            final = self.missing == 0
            self.replies.put_nowait(make_reply(self.served, [answer], rows=[row], final=final))
        if self.missing == 0:
            self._wake()

    def progress(self, row: int, answer: Answer) -> None:
        """Deliver an earlier stage's answer for one row to a stream; better ones may follow."""
        if self.replies is not None and not self.over:
            self.replies.put_nowait(make_reply(self.served, [answer], rows=[row], final=False))

    def fail(self, error: SparingError) -> None:
        """End the whole call with an error, unless it is over."""
        if not self.over:
            self.error = error
            self._wake()

    def _wake(self) -> None:
        if self.replies is not None:
            self.replies.put_nowait(None)
        if self.done is not None:
            self.done()


def make_reply(
    served: ServedRoute,
    answers: Sequence[Answer | None],
    *,
    rows: Sequence[int] | None = None,
    final: bool = True,
) -> Reply:
    """Build a reply from answers that are all known."""
    manifest = served.manifest
    return Reply(
        manifest.route,
        manifest.version,
        served.digest,
        manifest.certificate,
        served.metrics.energy.source,
        [answer for answer in answers if answer is not None],
        rows,
        final,
    )
