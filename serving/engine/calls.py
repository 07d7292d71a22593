"""A call: one request in flight, its rows' answers as they arrive, and the endpoint that waits."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy

import numpy as np

from core.errors import DeadlineExceeded, SparingError
from core.messages import NO_ERRORS, Outcomes, Reply, Request, RowAnswers
from monitoring.tracing.traces import NO_TRACE, Trace
from serving.engine.catalog import ServedRoute
from serving.scheduling.fair_shares import Claim
from serving.scheduling.rows.blocks import Block


class Call:
    """Collects the answers of one request; the whole call fails if one of its rows fails."""

    requests = 1  # that share the call
    gone: Collection[int] = ()  # rows whose own client has disconnected

    __slots__ = (
        "blocks", "claim", "cost_share", "deadline", "done", "energy_mj", "error", "failures",
        "first_s", "joined", "missing", "parts", "replies", "request", "served", "started",
        "timer", "trace",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        served: ServedRoute,
        parts: list[RowAnswers],  # what the cache holds
        missing: int,  # rows without an answer
        started: float,
        done: Callable[[], object] | None,  # called once, when the call is over
        trace: Trace = NO_TRACE,
    ) -> None:
        self.request = request
        self.served = served
        self.started = started
        self.deadline = request.deadline
        self.energy_mj = request.energy_mj
        self.cost_share = 1.0  # of the first stage, relative to its cost at the default budget
        self.parts = parts
        self.missing = missing
        self.claim: Claim | None = None  # its position in its share, while rows are computed
        self.blocks: list[Block] = []  # that compute its rows; also some that are done
        self.joined: list[Block] = []  # of other calls, in which it waits for rows
        self.error: SparingError | None = None
        self.failures = NO_ERRORS  # of rows, with `partial`
        self.first_s: dict[int, float] = {}  # by row, seconds until its first token
        self.done = done
        self.trace = trace
        self.timer: asyncio.TimerHandle | None = None
        self.replies: asyncio.Queue[Reply | None] | None = None  # if it streams; None ends it

    def stream(self) -> "asyncio.Queue[Reply | None]":
        """Return a queue of one reply for the answers of each step, beginning with the answers
        known already.
        """
        self.replies = asyncio.Queue()
        for part in self.parts:
            final = self.missing == 0 and part is self.parts[-1]
            self.replies.put_nowait(make_reply(self.served, [part], rows=part.rows, final=final))
        if self.missing == 0:
            self._wake()
        return self.replies

    @property
    def streams(self) -> bool:
        return self.replies is not None

    @property
    def over(self) -> bool:
        return self.missing == 0 or self.error is not None

    def tell(self) -> None:
        """Say that the call is over if it is so from the start, by what the cache holds."""
        if self.missing == 0:
            self._wake()

    def find_block(self, row: int) -> Block:
        """Return the block that computes a row of this call."""
        return next(block for block in self.blocks if not block.done and row in block.rows)

    def deliver(self, part: RowAnswers) -> None:
        """Store the final answers of rows."""
        if self.error is not None:
            return
        if self.deadline is not None and self.started + part.latency_s > self.deadline:
            self.fail(DeadlineExceeded("the answer came after the request's deadline"))
            return
        self.parts.append(part)
        self.missing -= len(part.rows)
        count_rows(self.served, part)
        if self.served.generation is not None and not part.cached:
            count_generation(self.served, part, self.first_s)
        if self.replies is not None:
            final = self.missing == 0
            self.replies.put_nowait(make_reply(self.served, [part], rows=part.rows, final=final))
        if self.missing == 0:
            self._wake()

    def note_progress(self, rows: Iterable[int], now: float) -> None:
        """Note that rows have answers, which may not be their last."""
        if self.served.generation is not None:
            for row in rows:
                self.first_s.setdefault(row, now - self.started)

    def progress(self, part: RowAnswers) -> None:
        """Deliver an earlier stage's answers to a stream; better ones may follow."""
        if self.replies is not None and not self.over:
            self.replies.put_nowait(make_reply(self.served, [part], rows=part.rows, final=False))

    def fail(self, error: SparingError, rows: Sequence[int] = ()) -> None:
        """End the whole call with an error, which names the first of these rows, unless it is over.
        With `partial` only these rows end.
        """
        if self.over:
            return
        if rows and self.request.partial and self.replies is None and self.served.failed:
            self._end_failed(error, rows, self.served.failed)
            return
        if rows and self.missing + sum([len(part.rows) for part in self.parts]) > 1:
            error = copy(error)
            error.args = (f"row {rows[0]}: {error}",)
        self.error = error
        self._wake()

    def _end_failed(self, error: SparingError, rows: Sequence[int], failed: Outcomes) -> None:
        self.failures = {**self.failures, **dict.fromkeys(rows, str(error))}
        latency_s = time.monotonic() - self.started
        at = [0] * len(rows)
        self.parts.append(RowAnswers(sorted(rows), failed, at, "failed", False, 0, None, latency_s))
        self.missing -= len(rows)
        if self.missing == 0:
            self._wake()

    def _wake(self) -> None:
        if self.replies is not None:
            self.replies.put_nowait(None)
        if self.done is not None:
            self.done()


def count_rows(served: ServedRoute, part: RowAnswers) -> None:
    """Count the rows in their route's metrics, under the stages that answered them."""
    if served.role_counts is not None:
        served.role_counts.count_rows(part)
    outcomes, at = part.outcomes, part.at
    count, rows = served.metrics.count_rows, len(at)
    if rows == 1 or isinstance(outcomes.exits, int):
        count(outcomes.exit(at[0]), part.stopped_by, part.latency_s, rows, served.full_macs)
        return
    for exit, exit_rows in Counter(outcomes.exits[list(at)].tolist()).items():
        name = outcomes.names[exit]
        count(name, part.stopped_by, part.latency_s, exit_rows, served.full_macs)


def count_generation(served: ServedRoute, part: RowAnswers, first_s: Mapping[int, float]) -> None:
    """Count the tokens of computed answers, and their times; not those that another call's rows
    computed for these.
    """
    counts = served.metrics.generation
    assert served.generation is not None
    if counts is None:
        return
    paid = np.broadcast_to(part.macs, len(part.at)) > 0
    for row, at, pays in zip(part.rows, part.at, paid.tolist(), strict=True):
        if pays:
            outcome = part.outcomes.row(at)
            tokens = served.generation.count_tokens(outcome)
            until_first_s = first_s.get(row, part.latency_s)
            counts.count_answer(outcome.exit, tokens, until_first_s, part.latency_s)


def make_reply(
    served: ServedRoute,
    parts: Sequence[RowAnswers],
    *,
    rows: Sequence[int] | None = None,
    final: bool = True,
    errors: Mapping[int, str] = NO_ERRORS,
) -> Reply:
    """Build a reply from answers."""
    manifest = served.manifest
    return Reply(
        manifest.route,
        manifest.version,
        served.digest,
        manifest.certificate,
        served.metrics.energy.source,
        parts,
        rows,
        final,
        errors,
    )
