"""Sorts a request's rows: which are computed, and which wait for identical ones under way."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.columns import take_rows
from core.explaining import EXPLAIN
from core.messages import Array, Key, RowAnswers
from serving.engine.calls import Call
from serving.engine.entry_points import EntryPoint
from serving.scheduling.fair_shares import Claim
from serving.scheduling.rows.blocks import Block


class SortedRows(NamedTuple):
    """Rows of a request without an answer."""

    fresh: Sequence[int]  # to compute, all different
    twins: Sequence[tuple[int, int]] = ()  # a fresh row, and another row that is identical
    joined: Sequence[tuple[Key, Sequence[int]]] = ()  # a row under way, and the rows that wait


def find_missing(rows: int, parts: Sequence[RowAnswers]) -> Sequence[int]:
    """Return the rows of a request that are in none of these parts."""
    if sum([len(part.rows) for part in parts]) == rows:
        return ()
    known = {row for part in parts for row in part.rows}
    return [row for row in range(rows) if row not in known]


def sort_rows(
    keys: Sequence[Key | None], rows: Sequence[int], under_way: Mapping[Key, object]
) -> SortedRows:
    """Sort these rows of a request with these keys. Rows without a key are never shared."""
    first_key = keys[rows[0]]
    if first_key is None or (len(rows) == 1 and first_key not in under_way):
        return SortedRows(rows)
    wanted = keys if len(rows) == len(keys) else [keys[row] for row in rows]
    if under_way.keys().isdisjoint(wanted) and len(set(wanted)) == len(wanted):
        return SortedRows(rows)
    fresh: list[int] = []
    first: dict[Key, int] = {}
    twins: list[tuple[int, int]] = []
    joined: dict[Key, list[int]] = {}
    for row, key in zip(rows, wanted, strict=True):
        if key is None:
            fresh.append(row)
        elif key in under_way:
            joined.setdefault(key, []).append(row)
        elif key in first:
            twins.append((first[key], row))
        else:
            first[key] = row
            fresh.append(row)
    return SortedRows(fresh, twins, list(joined.items()))


def make_block(
    call: Call,
    claim: Claim,
    entry_point: EntryPoint,
    rows: Sequence[int],
    keys: Sequence[Key | None],
    due: float,
) -> Block:
    """Make the block of these rows of a call."""
    lane, extra_inputs = entry_point
    given: Mapping[str, Array] = call.request.inputs
    shared = [key for row in rows if (key := keys[row]) is not None]
    if len(rows) == len(keys):
        inputs = dict(given)
    else:
        inputs = {name: take_rows(array, rows) for name, array in given.items()}
    for name, value in extra_inputs.items():
        inputs[name] = np.repeat(value[None], len(rows), axis=0)
    controls = call.request.controls
    if call.served.defaults:
        controls = {**call.served.defaults, **controls}
    path = call.trace.path
    if path is not None and path.wants_picture:
        controls = {**controls, EXPLAIN: 1.0}
    block = Block(lane, call, rows, inputs, controls, shared or None, due, call.started, claim)
    block.cost_share = call.cost_share
    return block
