"""Notes of the engine, lanes and lookups on traced requests; called only while one is under way.

Rows of one request that shared a batch or a lookup make one note, so that a large request does not
make hundreds.
"""

from collections.abc import Iterable, Iterator, Sequence

from core.columns import Steps
from core.explaining import StageRun
from monitoring.tracing.traces import Trace
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.costs import divide_device_s


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


def trace_batch(
    lane: Lane, batch: Sequence[Block], steps: Steps, cpu_s: float, began: float, ended: float
) -> None:
    """A stage ran a batch: note how long its rows waited, and how long it took. A row that is to be
    explained gets the run in its path.
    """
    name = lane.stage.name
    batch_rows = len(steps)
    queued: dict[Trace, list[tuple[float, int]]] = {}
    start = 0
    for block in batch:
        for trace, places in _traces_of(block):
            queued.setdefault(trace, []).append((block.queued_at, len(places)))
            if (path := trace.path) is not None:
                queue_s = max(0.0, began - max(block.queued_at, path.since))
                run = _describe_run(lane, steps, start + places[0], queue_s, ended - began, cpu_s)
                joined = block.call is None or block.call.trace is not trace
                path.add(run._replace(joined=joined))
        start += len(block)
    for trace, parts in queued.items():
        rows = sum([part[1] for part in parts])
        since = min([part[0] for part in parts])
        trace.add_span("queue", since, began, stage=name, rows=rows)
        trace.add_span(f"stage {name}", began, ended, stage=name, rows=rows, batch_rows=batch_rows)


def _describe_run(
    lane: Lane, steps: Steps, position: int, queue_s: float, device_s: float, cpu_s: float
) -> StageRun:
    """Return what a batch did with the row at this position."""
    step = steps[position]
    row_s = divide_device_s(steps, cpu_s)
    row_cpu_s = row_s if isinstance(row_s, float) else float(row_s[position])
    onward = step.next
    return StageRun(
        lane.stage.name,
        queue_s,
        device_s,
        cpu_s=row_cpu_s,
        batch_rows=len(steps),
        macs=step.macs,
        energy_mj=lane.metrics.energy.estimate_mj(row_cpu_s),
        joined=False,
        answer=step.answer,
        next_stage=None if onward is None else onward.stage,
        carried={} if onward is None else onward.inputs,
        notes={name: column[position] for name, column in steps.notes.items()},
    )


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
