"""A batch's results as columns: arrays over its rows instead of an object for each row.

An object per row costs several times what a small net costs, so stages return `Steps`, and the
engine moves whole blocks of rows. A simple pipeline may return a list of `Step`s; `as_steps`
converts it.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from core.messages import Array, Next, Outcome, Outcomes, StateHandle, Step

NOWHERE = -1
NO_NOTES: Mapping[str, Array] = MappingProxyType({})


class Onward(NamedTuple):
    """Rows of a batch that continue at one stage, and their inputs there."""

    stage: str
    rows: npt.NDArray[np.intp]  # [M] positions in the batch, ascending
    inputs: Mapping[str, Array]  # [M, ...], or lists of M arrays; never a view of the whole batch
    states: Sequence[StateHandle | None] | None = None  # None: none of them has a state


class Steps(Sequence[Step]):
    """What a stage returns for a batch of N rows. As a sequence: one `Step` per row.

    A row with an answer that does not go on is done; a row with neither has failed.
    """

    __slots__ = ("_places", "answered", "answers", "macs", "notes", "onward", "rows")

    def __init__(
        self,
        rows: int,
        macs: int | npt.NDArray[np.int64],  # executed: the same for all rows, or [N]
        answers: Outcomes | None,  # the best answers so far; None: no row has one
        answered: npt.NDArray[np.bool_] | None = None,  # [N] which rows have one; None: all
        onward: Sequence[Onward] = (),
        # [N, ...] for the pictures of explanations; only where `rows.controls` has `explain`
        notes: Mapping[str, Array] = NO_NOTES,
    ) -> None:
        self.rows = rows
        self.macs = macs
        self.answers = answers
        self.answered = answered
        self.onward = onward
        self.notes = notes
        self._places: list[tuple[int, int]] | None = None

    def __len__(self) -> int:
        return self.rows

    @overload
    def __getitem__(self, at: int) -> Step: ...
    @overload
    def __getitem__(self, at: slice) -> list[Step]: ...
    def __getitem__(self, at: int | slice) -> Step | list[Step]:
        if isinstance(at, slice):
            return [self._row(row) for row in range(*at.indices(self.rows))]
        return self._row(range(self.rows)[at])

    def __iter__(self) -> Iterator[Step]:
        return map(self._row, range(self.rows))

    def _row(self, row: int) -> Step:
        answer = None
        if self.answers is not None and (self.answered is None or self.answered[row]):
            answer = self.answers.row(row)
        if self._places is None:
            self._places = [(NOWHERE, 0)] * self.rows
            for target, onward in enumerate(self.onward):
                for place, index in enumerate(onward.rows.tolist()):
                    self._places[index] = (target, place)
        target, place = self._places[row]
        macs = self.macs if isinstance(self.macs, int) else int(self.macs[row])
        if target == NOWHERE:
            return Step(macs, answer, None)
        onward = self.onward[target]
        inputs = {name: column[place] for name, column in onward.inputs.items()}
        state = None if onward.states is None else onward.states[place]
        return Step(macs, answer, Next(onward.stage, inputs, state))


def as_steps(steps: Sequence[Step]) -> Steps:
    """Return the steps as columns, which they may already be."""
    if isinstance(steps, Steps):
        return steps
    answered = np.array([step.answer is not None for step in steps], dtype=np.bool_)
    answers = None
    if answered.any():
        filler = next(step.answer for step in steps if step.answer is not None)
        answers = stack_outcomes([step.answer or filler for step in steps])
    targets: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for row, step in enumerate(steps):
        if step.next is not None:
            name = (step.next.stage, tuple(step.next.inputs))
            targets.setdefault(name, []).append(row)
    return Steps(
        len(steps),
        np.array([step.macs for step in steps], dtype=np.int64),
        answers,
        answered,
        [_send_on(stage, names, rows, steps) for (stage, names), rows in targets.items()],
    )


def stack_outcomes(rows: Sequence[Outcome]) -> Outcomes:
    """Return single answers as columns; at least one."""
    names = list(dict.fromkeys(row.exit for row in rows))
    exits = np.array([names.index(row.exit) for row in rows])
    outputs = dict.fromkeys(name for row in rows for name in row.outputs)
    return Outcomes(
        {name: _stack([row.outputs.get(name) for row in rows]) for name in outputs},
        np.array([row.confidence for row in rows], dtype=np.float64),
        exits,
        names,
    )


def repeat_row(one: Outcomes, rows: int) -> Outcomes:
    """Return a single answer as the answers of so many rows."""
    outputs = {name: np.repeat(column, rows, axis=0) for name, column in one.outputs.items()}
    return Outcomes(outputs, np.repeat(one.confidence, rows), one.exits, one.names)


def take_rows(column: Array, places: Sequence[int]) -> Array:
    """Return these rows of a column, at least one, in this order: a view where they follow each
    other, else a copy.
    """
    first, rows = places[0], len(places)
    if isinstance(places, range) or rows == 1 or places == list(range(first, first + rows)):
        return column[first : first + rows]
    if isinstance(column, list):
        return [column[place] for place in places]
    return column[places]


def _stack(rows: Sequence[np.ndarray | None]) -> Array:
    """Stack rows; rows of different shapes or types, or without the output, stay a list."""
    arrays = [np.asarray(row) for row in rows if row is not None]
    kinds = {(array.dtype.str, array.shape) for array in arrays}
    if len(kinds) > 1 or len(arrays) < len(rows):
        return list(rows)
    return np.stack(arrays)


def _send_on(
    stage: str, names: Sequence[str], rows: Sequence[int], steps: Sequence[Step]
) -> Onward:
    targets = [target for row in rows if (target := steps[row].next) is not None]
    states = [target.state for target in targets]
    return Onward(
        stage,
        np.array(rows, dtype=np.intp),
        {name: [target.inputs[name] for target in targets] for name in names},
        states if any(state is not None for state in states) else None,
    )
