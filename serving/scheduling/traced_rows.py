"""Notes of the engine, lanes and lookups on traced requests; called only while one is under way.

Rows of one request that shared a batch or a lookup make one note, so that a large request does not
make hundreds.
"""

from collections.abc import Iterable, Sequence

from core.messages import Answer
from monitoring.tracing.traces import Trace
from serving.scheduling.lanes import Flight, Lane


def trace_cache_lookup(trace: Trace, answers: Sequence[Answer | None]) -> None:
    """The local cache was asked for a request's rows."""
    misses = answers.count(None)
    trace.end_span("cache", tier=1, rows=len(answers), hits=len(answers) - misses)


def trace_remote_lookup(asked: Iterable[tuple[Flight, float, bool]], now: float) -> None:
    """The remote cache has answered: for each row since when it waited, and whether it is known."""
    found: dict[Trace, list[tuple[float, bool]]] = {}
    for flight, asked_at, known in asked:
        for trace in _traces_of(flight):
            found.setdefault(trace, []).append((asked_at, known))
    for trace, rows in found.items():
        hits = sum(known for _, known in rows)
        began = min(asked_at for asked_at, _ in rows)
        trace.add_span("cache", began, now, tier=2, rows=len(rows), hits=hits)


def trace_batch(lane: Lane, batch: Sequence[Flight], began: float, ended: float) -> None:
    """A stage ran a batch: note how long its rows waited, and how long it took."""
    name = lane.stage.name
    queued: dict[Trace, list[float]] = {}
    for flight in batch:
        for trace in _traces_of(flight):
            queued.setdefault(trace, []).append(flight.queued_at)
    for trace, since in queued.items():
        rows = len(since)
        trace.add_span("queue", min(since), began, stage=name, rows=rows)
        trace.add_span(f"stage {name}", began, ended, stage=name, rows=rows, batch_rows=len(batch))


def _traces_of(flight: Flight) -> set[Trace]:
    """Return the traces of the calls that wait for a row; a call may wait for it twice."""
    return {waiting.trace for waiting, _ in flight.waiters if waiting.trace.is_recording}
