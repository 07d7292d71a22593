"""Notes of the engine, lanes and lookups on traced requests; called only while one is under way.

Rows of one request that shared a batch or a lookup make one note, so that a large request does not
make hundreds.
"""

from collections.abc import Iterable, Iterator, Sequence

from monitoring.tracing.traces import Trace
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block


def trace_cache_lookup(trace: Trace, rows: int, hits: int) -> None:
    """The local cache was asked for a request's rows."""
    trace.end_span("cache", tier=1, rows=rows, hits=hits)


def trace_remote_lookup(asked: Iterable[tuple[Block, float, Sequence[bool]]], now: float) -> None:
    """The remote cache has answered: for each block since when it waited, and which of its rows
    are known.
    """
    found: dict[Trace, list[tuple[float, int, int]]] = {}
    for block, asked_at, known in asked:
        for trace, rows in _traces_of(block):
            hits = sum([known[place] for place in rows])
            found.setdefault(trace, []).append((asked_at, len(rows), hits))
    for trace, parts in found.items():
        began = min(asked_at for asked_at, _, _ in parts)
        rows_asked, hits = sum(part[1] for part in parts), sum(part[2] for part in parts)
        trace.add_span("cache", began, now, tier=2, rows=rows_asked, hits=hits)


def trace_batch(lane: Lane, batch: Sequence[Block], began: float, ended: float) -> None:
    """A stage ran a batch: note how long its rows waited, and how long it took."""
    name = lane.stage.name
    batch_rows = sum([len(block) for block in batch])
    queued: dict[Trace, list[tuple[float, int]]] = {}
    for block in batch:
        for trace, places in _traces_of(block):
            queued.setdefault(trace, []).append((block.queued_at, len(places)))
    for trace, parts in queued.items():
        rows = sum([part[1] for part in parts])
        since = min([part[0] for part in parts])
        trace.add_span("queue", since, began, stage=name, rows=rows)
        trace.add_span(f"stage {name}", began, ended, stage=name, rows=rows, batch_rows=batch_rows)


def _traces_of(block: Block) -> Iterator[tuple[Trace, Sequence[int]]]:
    """Yield the traces of the calls that wait for rows of a block, with these rows' positions."""
    for waiting in block.waiters():
        if not waiting.trace.is_recording:
            continue
        if waiting is block.call:
            yield waiting.trace, range(len(block))
        else:
            own = dict.fromkeys(row for row, _ in block.joins[waiting])
            yield waiting.trace, block.places_of(own)
