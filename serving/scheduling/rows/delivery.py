"""Delivers the answers of a block's rows to the calls that wait for them.

The block's own call pays for the work: its answer reports the MACs and joules, those of calls that
joined report none, so that sums over replies are correct. Once that call has left, the first one
that joined a row pays for it.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from core.messages import Outcomes, RowAnswers, StoppedBy
from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.costs import estimate_mj
from serving.scheduling.rows.interfaces import Waiter


def deliver(
    block: Block, outcomes: Outcomes, at: Sequence[int], stopped_by: StoppedBy, now: float
) -> None:
    """Deliver the final answers of all rows to all calls."""
    waiters = list(block.waiters()) if block.joins or block.call is None else (block.call,)
    for waiting in waiters:
        for part in _answer(block, waiting, outcomes, at, stopped_by, now):
            waiting.deliver(part)


def deliver_to(block: Block, waiting: Waiter, stopped_by: StoppedBy, now: float) -> None:
    """Deliver the best answers so far to one call, as its final ones. There must be answers."""
    outcomes, at = block.answers, block.at
    assert outcomes is not None
    for part in _answer(block, waiting, outcomes, at, stopped_by, now):
        waiting.deliver(part)
    if waiting is block.call:
        block.told_macs, block.told_s = block.macs, block.device_s
    elif block.call is None and (pairs := block.joins.get(waiting)):
        paid = [own for index, (own, _) in enumerate(pairs) if _is_first(block, waiting, index)]
        mask = np.zeros(len(block), dtype=np.bool_)
        mask[block.places_of(paid)] = True
        block.told_macs = np.where(mask, block.macs, block.told_macs)
        block.told_s = np.where(mask, block.device_s, block.told_s)


def deliver_cached(block: Block, outcomes: Outcomes, at: Sequence[int], now: float) -> None:
    """Deliver answers that another cache held: they cost nothing."""
    zero_mj = block.lane.metrics.energy.zero_mj
    for waiting in block.waiters():
        latency_s = now - waiting.started
        if waiting is block.call:
            waiting.deliver(
                RowAnswers(block.rows, outcomes, at, "cache", True, 0, zero_mj, latency_s)
            )
        if pairs := block.joins.get(waiting):
            rows, places = _place_joins(block, pairs)
            positions = [at[place] for place in places]
            waiting.deliver(
                RowAnswers(rows, outcomes, positions, "cache", True, 0, zero_mj, latency_s)
            )


def stream(block: Block, now: float) -> None:
    """Deliver the answers so far to the calls that stream; the others note that there are some."""
    outcomes, at = block.answers, block.at
    if outcomes is None:
        return
    for waiting in block.waiters():
        waiting.note_progress(_list_rows(block, waiting), now)
        if waiting.streams:
            for part in _answer(block, waiting, outcomes, at, "", now):
                waiting.progress(part)


def _list_rows(block: Block, waiting: Waiter) -> Iterator[int]:
    """Yield the call's own rows that the block computes, and those that wait for its rows."""
    if waiting is block.call:
        yield from block.rows
    for _, row in block.joins.get(waiting, ()):
        yield row


def _answer(
    block: Block,
    waiting: Waiter,
    outcomes: Outcomes,
    at: Sequence[int],
    stopped_by: StoppedBy | Literal[""],
    now: float,
) -> list[RowAnswers]:
    """Return the answers of the rows that are the call's own, and of those that it joined."""
    parts = []
    latency_s = now - waiting.started
    energy = block.lane.metrics.energy
    if waiting is block.call:
        energy_mj = estimate_mj(energy, block.device_s - block.told_s)
        macs = block.macs - block.told_macs
        own = (block.rows, outcomes, at, stopped_by, False, macs, energy_mj, latency_s)
        parts.append(RowAnswers(*own))
    if pairs := block.joins.get(waiting):
        rows, places = _place_joins(block, pairs)
        positions = [at[place] for place in places]
        zero_mj = energy.estimate_mj(0.0)
        free = RowAnswers(rows, outcomes, positions, stopped_by, False, 0, zero_mj, latency_s)
        parts.append(free if block.call is not None else _charge(block, waiting, free, places))
    return parts


def _charge(block: Block, waiting: Waiter, free: RowAnswers, places: Sequence[int]) -> RowAnswers:
    """Add the costs of rows that this call joined first, where the block's own call has left."""
    pairs = block.joins[waiting]
    order = sorted(range(len(pairs)), key=lambda index: pairs[index][1])  # as `rows`
    pays = [_is_first(block, waiting, index) for index in order]
    macs = np.where(pays, np.broadcast_to(block.macs - block.told_macs, len(block))[places], 0)
    spent_s = np.broadcast_to(block.device_s - block.told_s, len(block))[places]
    energy_mj = estimate_mj(block.lane.metrics.energy, np.where(pays, spent_s, 0.0))
    return free._replace(macs=macs, energy_mj=energy_mj)


def _is_first(block: Block, waiting: Waiter, index: int) -> bool:
    """Return whether this is the first call, and its first row, that joined the block's row."""
    own = block.joins[waiting][index][0]
    for other, pairs in block.joins.items():
        for place, (row, _) in enumerate(pairs):
            if row == own:
                return other is waiting and place == index
    return False


def _place_joins(block: Block, pairs: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return the call's own rows, ascending, and the position of each in the block."""
    ordered = sorted(pairs, key=lambda pair: pair[1])
    return [row for _, row in ordered], block.places_of(own for own, _ in ordered)
