"""Reads a batch's steps: which rows are done, which failed, and which continue where."""

from collections.abc import Iterator, Sequence

import numpy as np

from core.columns import Onward, Steps, take_rows
from core.errors import StageFailed
from core.messages import Array, StateHandle
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block

MAX_STEPS = 2**16  # for one row: a pipeline that sends a row on forever fails it

# Kinds of rows; any other kind stands for a target: its index, and whether the row is answered.
EXCEEDING, FAILED, DONE = -3, -2, -1  # exceeding: its new state is larger than it reserved


class BatchResults:
    """The kinds of a batch's rows. Raises ValueError if the steps contradict themselves."""

    __slots__ = ("_has_states", "_kinds", "_places", "steps")

    def __init__(self, steps: Steps) -> None:
        _check_sizes(steps)
        self.steps = steps
        self._has_states = any(onward.states is not None for onward in steps.onward)
        self._kinds: list[int] | None = None  # None: all rows are done
        self._places: list[int] = []  # of a row in its target's columns
        answered = _find_answered(steps)
        if not steps.onward and answered.all():
            return
        kinds = np.where(answered, DONE, FAILED)
        places = np.zeros(len(steps), dtype=np.intp)
        for target, onward in enumerate(steps.onward):
            _check(onward, len(steps))
            kinds[onward.rows] = 2 * target + answered[onward.rows]
            places[onward.rows] = np.arange(len(onward.rows))
        if steps.onward and steps.answers is not None:
            kinds[_find_invalid(steps)] = FAILED
        self._kinds, self._places = kinds.tolist(), places.tolist()

    def group(
        self, start: int, rows: int, exceeding: Sequence[int] = ()
    ) -> dict[int, Sequence[int]]:
        """Return the kinds of `rows` rows from the batch's row `start` on, each with the positions
        in the batch of its rows. The states of the rows at `exceeding`, counted from `start`, are
        larger than declared.
        """
        positions = range(start, start + rows)
        kinds = self._kinds
        if not exceeding:
            if kinds is None:
                return {DONE: positions}
            if rows == 1:
                return {kinds[start]: positions}
        groups: dict[int, list[int]] = {}
        for position in positions:
            kind = DONE if kinds is None else kinds[position]
            if exceeding and position - start in exceeding:
                kind = EXCEEDING
            groups.setdefault(kind, []).append(position)
        return {kind: positions if len(groups) == 1 else at for kind, at in groups.items()}

    def target(self, kind: int) -> tuple[Onward, bool]:
        """Return where rows of this kind continue, and whether this batch answered them."""
        return self.steps.onward[kind >> 1], bool(kind & 1)

    def take_inputs(self, onward: Onward, positions: Sequence[int]) -> dict[str, Array]:
        """Return the inputs of these rows at their next stage."""
        places = [self._places[position] for position in positions]
        return {name: take_rows(column, places) for name, column in onward.inputs.items()}

    def take_states(self, block: Block, start: int) -> list[StateHandle | None] | None:
        """Return the new states of a block's rows; None if there are neither new nor old ones."""
        if not self._has_states:
            return None if block.states is None else [None] * len(block)
        states: list[StateHandle | None] = [None] * len(block)
        for place in range(len(block)):
            states[place] = self._find_state(start + place)
        return states

    def _find_state(self, position: int) -> StateHandle | None:
        for onward in self.steps.onward:
            if onward.states is None:
                continue
            place = self._places[position]
            if place < len(onward.rows) and onward.rows[place] == position:
                return onward.states[place]
        return None


def divide(
    block: Block, groups: dict[int, Sequence[int]], start: int
) -> Iterator[tuple[int, Block, Sequence[int]]]:
    """Yield a block for each kind of rows, with the rows' positions in the batch."""
    if len(groups) == 1:
        ((kind, positions),) = groups.items()
        yield kind, block, positions
        return
    parts = block.divide([[at - start for at in positions] for positions in groups.values()])
    for (kind, positions), part in zip(groups.items(), parts, strict=True):
        yield kind, part, positions


def find_next(block: Block, lane: Lane, stage: str) -> Lane:
    """Return the lane of the rows' next stage. Raises StageFailed."""
    block.steps += 1
    if block.steps > MAX_STEPS:
        raise StageFailed(f"stage {lane.stage.name} sends rows on forever")
    if (following := lane.lanes.get(stage)) is None:
        raise StageFailed(f"stage {lane.stage.name} sends rows to an unknown stage")
    return following


def _find_answered(steps: Steps) -> np.ndarray:
    """Return which rows have a valid answer."""
    if steps.answers is None:
        return np.zeros(len(steps), dtype=np.bool_)
    confidence = steps.answers.confidence
    valid = (confidence >= 0.0) & (confidence <= 1.0)  # also refuses NaN
    return valid if steps.answered is None else valid & steps.answered


def _find_invalid(steps: Steps) -> np.ndarray:
    """Return which rows claim an answer that is not valid."""
    claimed = np.ones(len(steps), dtype=np.bool_) if steps.answered is None else steps.answered
    return np.asarray(claimed & ~_find_answered(steps))


def _check_sizes(steps: Steps) -> None:
    """Raise ValueError if a column has not one value for each row."""
    rows, answers = len(steps), steps.answers
    columns = [] if isinstance(steps.macs, int) else [steps.macs]
    if answers is not None:
        columns += [*answers.outputs.values(), answers.confidence]
        columns += [] if isinstance(answers.exits, int) else [answers.exits]
    sizes = [(len(column), rows) for column in columns]
    for onward in steps.onward:
        sizes += [(len(column), len(onward.rows)) for column in onward.inputs.values()]
        if onward.states is not None:
            sizes.append((len(onward.states), len(onward.rows)))
    if any(size != wanted for size, wanted in sizes):
        raise ValueError("a column has not one value for each row")


def _check(onward: Onward, rows: int) -> None:
    positions = onward.rows
    if positions.size and (positions[0] < 0 or positions[-1] >= rows):
        raise ValueError(f"rows {positions.tolist()} of {rows} go on")
    if positions.size > 1 and not (np.diff(positions) > 0).all():
        raise ValueError("the rows that go on are not in ascending order")
