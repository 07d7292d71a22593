"""A block: rows of one request on their way through lanes, as columns.

A batch slices blocks, and a block splits where its rows part: some end, others continue, other
requests join some of them. Identical rows of several requests are computed once: the block belongs
to the call that came first (`call`), and the others wait for single rows of it (`joins`). Every
call keeps its own deadline, early answer and cancellation.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from core.columns import take_rows
from core.messages import Array, Control, Key, Outcomes, StateHandle
from serving.scheduling.fair_shares import Claim, Share
from serving.scheduling.rows.interfaces import Probe, Waiter

if TYPE_CHECKING:
    from serving.scheduling.lanes import Lane

NO_JOINED_CLAIMS: Mapping[int, Claim] = MappingProxyType({})
NO_JOINS: Mapping[Waiter, Any] = MappingProxyType({})
Joins = Mapping[Waiter, list[tuple[int, int]]]  # the row of the block's call, and the waiter's own


class Block:
    """Rows being computed: their lane, their results so far, and the calls that wait for them."""

    __slots__ = (
        "answers", "arrived", "at", "call", "claim", "controls", "cost_share", "device_s", "done",
        "due", "inputs", "joined_claims", "joins", "keys", "lane", "lanes", "macs", "needs",
        "order", "owner", "probes", "queued", "queued_at", "reserved", "row_s", "rows", "running",
        "start", "start_s", "state_bytes", "states", "steps", "told_macs", "told_s",
    )  # fmt: skip

    def __init__(
        self,
        lane: "Lane",
        call: Waiter | None,
        rows: Sequence[int],  # of the call's request, ascending
        inputs: Mapping[str, Array],  # [n, ...]
        controls: Mapping[str, Control],  # with the route's defaults
        keys: Sequence[Key] | None,  # by row; None: not shared with other requests
        due: float,
        now: float,
        claim: Claim | None = None,  # None: the lane's own
    ) -> None:
        self.call = call  # the call that pays; None once it has left
        self.owner = call  # the call whose rows these are, which finds them; None when done
        self.claim = claim or lane.claim
        self.joins: Joins = NO_JOINS
        # calls of other callers that joined, by order
        self.joined_claims: Mapping[int, Claim] = NO_JOINED_CLAIMS
        self.start = 0  # its position in its caller's queue
        self.start_s = self.row_s = 0.0  # of the first row; what each row adds
        self.order = 0
        self.lane = lane
        self.lanes = lane.lanes  # a replaced route's lanes live as long as its rows
        self.rows = rows
        self.inputs = inputs
        self.controls = controls
        self.cost_share = 1.0  # of the first stage, relative to its cost at the default budget
        self.keys = keys
        self.probes: Mapping[int, Probe] | None = None  # of the perceptual cache, by row
        self.due = due
        self.arrived = now
        self.queued_at = now
        self.queued = False
        self.answers: Outcomes | None = None  # the best answers so far
        self.at: Sequence[int] = ()  # the position of each row in them
        self.needs: list[int] = []  # bytes by row that its states may have
        self.reserved = False  # these bytes: before that, it may not enter its lane
        self.states: list[StateHandle | None] | None = None  # by row
        self.state_bytes: list[int] = []  # as counted when the states were taken over
        # Per row; arrays where rows differ. `told`: what an answer has reported already.
        self.macs: int | np.ndarray = 0
        self.told_macs: int | np.ndarray = 0
        self.device_s: float | np.ndarray = 0.0  # CPU time on the device
        self.told_s: float | np.ndarray = 0.0
        self.steps = 0  # moves to a next stage so far
        self.running = False
        self.done = False

    def __len__(self) -> int:
        return len(self.rows)

    def waiters(self) -> Iterator[Waiter]:
        """Yield each call that waits for rows of the block."""
        if self.call is not None:
            yield self.call
        for waiting in self.joins:
            if waiting is not self.call:
                yield waiting

    def rows_of(self, waiting: Waiter) -> list[int]:
        """Return the call's own rows that wait for this block."""
        rows = list(self.rows) if waiting is self.call else []
        return rows + [own for _, own in self.joins.get(waiting, ())]

    def shares(self) -> Sequence[Share]:
        """Return the shares of all callers in whose queues it waits."""
        if not self.joined_claims:
            return (self.claim.share,)
        return (self.claim.share, *[joined.share for joined in self.joined_claims.values()])

    def add_join(self, waiting: Waiter, rows: Iterable[tuple[int, int]]) -> None:
        """Let another call, or another row of the same, wait for rows of this block."""
        if not self.joins:
            self.joins = {}
        joins: dict[Waiter, list[tuple[int, int]]] = self.joins  # type: ignore[assignment]
        if waiting is not self.call and waiting not in joins:
            waiting.joined.append(self)
        joins.setdefault(waiting, []).extend(rows)

    def is_needed(self) -> bool:
        """Return whether another call or an audit needs any of the rows."""
        return bool(self.joins) or any(
            one.audited is not None for one in (self.probes or {}).values()
        )

    def find_needed(self) -> set[int]:
        """Return the rows that are computed even without the block's own call: other calls wait
        for them, or an audit does.
        """
        needed = {own for pairs in self.joins.values() for own, _ in pairs}
        if self.probes:
            needed.update(row for row, one in self.probes.items() if one.audited is not None)
        return needed

    def find_gone(self) -> list[int]:
        """Return the positions of the rows whose own client has left and that no other needs."""
        call = self.call
        if self.done or (call is not None and not call.gone):
            return []
        gone = self.rows if call is None else call.gone
        needed = self.find_needed()
        return [place for place, row in enumerate(self.rows) if row in gone and row not in needed]

    def places_of(self, rows: Iterable[int]) -> list[int]:
        """Return the positions of these rows in the block."""
        if len(self.rows) == 1:
            return [0 for _ in rows]
        places = {row: place for place, row in enumerate(self.rows)}
        return [places[row] for row in rows]

    def split(self, places: Sequence[int]) -> "Block":
        """Move the rows at these positions, ascending, to a block of their own; it is in no queue.
        At least one row must stay.
        """
        taken = set(places)
        kept = [place for place in range(len(self.rows)) if place not in taken]
        part = self._copy(places)
        _keep(self, part.rows, kept)
        return part

    def split_head(self, rows: int) -> "Block":
        """Like `split`, for the first `rows` rows."""
        part = self._copy(range(rows))
        _keep(self, part.rows, range(rows, len(self.rows)))
        return part

    def divide(self, groups: Iterable[Sequence[int]]) -> "list[Block]":
        """Return blocks of the rows at these positions; together they replace this one."""
        parts = [self._copy(places) for places in groups]
        self.done = True
        self.owner = None
        self.states, self.state_bytes, self.needs = None, [], []
        return parts

    def divide_by_joins(self) -> "list[Block]":
        """Return blocks of rows for which the same other calls wait, each with their claims."""
        waiting: dict[int, list[Waiter]] = {}
        for one, pairs in self.joins.items():
            if one is not self.call:
                for own in {own for own, _ in pairs}:
                    waiting.setdefault(own, []).append(one)
        groups: dict[tuple[Waiter, ...], list[int]] = {}
        for place, row in enumerate(self.rows):
            groups.setdefault(tuple(waiting.get(row, ())), []).append(place)
        parts = [self] if len(groups) == 1 else self.divide(groups.values())
        for others, part in zip(groups, parts, strict=True):
            claims = {one.claim.share: one.claim for one in others if one.claim is not None}
            claims.pop(part.claim.share, None)
            part.joined_claims = dict(enumerate(claims.values()))
        return parts

    def _copy(self, places: Sequence[int]) -> "Block":
        part = Block.__new__(Block)
        for name in _SHARED:
            setattr(part, name, getattr(self, name))
        part.queued = part.running = part.done = False
        for name in _COLUMNS:
            setattr(part, name, _pick(getattr(self, name), places))
        part.inputs = {name: take_rows(column, places) for name, column in self.inputs.items()}
        part.joins, part.probes = NO_JOINS, None
        if self.owner is not None:
            self.owner.blocks.append(part)
        if self.joins or self.probes:
            rows = set(part.rows)
            for waiting, pairs in self.joins.items():
                if mine := [pair for pair in pairs if pair[0] in rows]:
                    part.add_join(waiting, mine)
            if self.probes:
                part.probes = {row: one for row, one in self.probes.items() if row in rows}
        return part


# What a split copies: values of all rows, and columns of one value per row.
_COLUMNS = (
    "rows",
    "keys",
    "at",
    "needs",
    "states",
    "state_bytes",
    "macs",
    "told_macs",
    "device_s",
    "told_s",
)
_SHARED = tuple(
    name for name in Block.__slots__ if name not in (*_COLUMNS, "inputs", "joins", "probes")
)


def _keep(block: Block, gone_rows: Sequence[int], places: Sequence[int]) -> None:
    for name in _COLUMNS:
        setattr(block, name, _pick(getattr(block, name), places))
    block.inputs = {name: take_rows(column, places) for name, column in block.inputs.items()}
    gone = set(gone_rows) if block.joins or block.probes else ()
    if block.joins:
        left = {
            waiting: [pair for pair in pairs if pair[0] not in gone]
            for waiting, pairs in block.joins.items()
        }
        block.joins = {waiting: pairs for waiting, pairs in left.items() if pairs}
    if block.probes:
        block.probes = {row: one for row, one in block.probes.items() if row not in gone}


def _pick(values: Any, places: Sequence[int]) -> Any:
    """Return the values at these positions; a single value for all rows as it is."""
    if values is None or isinstance(values, (int, float, np.generic)):
        return values
    if isinstance(values, np.ndarray):
        return values[list(places)]
    if not values:
        return values
    if isinstance(places, range):
        return values[places.start : places.stop]
    return [values[place] for place in places]
