"""Rows that wait until their device has memory for the state that they may need.

They wait in a lane before the one of their first stage, in which order they are served as fairly as
for device time. The first that does not fit holds back all others, so that a row that needs much is
not passed forever by rows that need little.
"""

import logging
from collections.abc import Iterator

import numpy as np

from core.errors import InvalidInput, SparingError, StageFailed
from core.state_needs import StateNeeds
from serving.scheduling.lane_choice import LaneChoice
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.states import StateMemory

_log = logging.getLogger("sparing.states")


def measure_needs(block: Block, declare: StateNeeds, limit_bytes: int) -> None:
    """Set the bytes that each row of the block must reserve before it starts.

    Raises InvalidInput for a row that can never fit into the device's memory for states, and what
    the pipeline raises for a row that it refuses.
    """
    route = block.lane.route
    try:
        needs = np.asarray(declare(block.inputs, block.controls))
        if needs.shape != (len(block),) or needs.dtype.kind not in "iu" or needs.min() < 0:
            raise ValueError(f"{needs.dtype} {list(needs.shape)}: not one size for each row")
    except SparingError:
        raise
    except Exception as error:  # of a pipeline
        _log.exception("route %s cannot say what its rows need", route)
        raise StageFailed(f"route {route!r} failed on this input") from error
    if needs.max() > limit_bytes:
        place = int(needs.argmax())
        raise InvalidInput(
            f"row {block.rows[place]} may need {needs[place]} bytes of state, the device of route "
            f"{route!r} has {limit_bytes} for all rows together"
        )
    if needs.any():
        block.needs = needs.tolist()


class Reservations:
    """The rows of one device that wait for memory."""

    __slots__ = ("_choice", "_lanes", "_states")

    def __init__(self, states: StateMemory) -> None:
        self._states = states
        self._choice = LaneChoice()
        self._lanes: dict[Lane, None] = {}  # that hold rows, in order of first use

    def add(self, block: Block, lane: Lane, now: float) -> None:
        """Let the rows of a block wait until they may enter this lane."""
        assert lane.reserving is not None, "a route whose rows need memory declares it"
        lane.reserving.push(block, now)
        self._lanes[lane.reserving] = None

    def __bool__(self) -> bool:
        """Return whether lanes may hold rows; those without any are forgotten by `take`."""
        return bool(self._lanes)

    def waiting(self) -> Lane | None:
        """Return a lane whose rows wait for memory; None if none do."""
        return next((lane for lane in self._lanes if lane.rows), None)

    def take(self, now: float) -> Iterator[tuple[Block, Lane]]:
        """Yield blocks whose bytes are now reserved, and the lane that each enters."""
        while self._lanes:
            queue = self._choice.choose(self._lanes, now)
            if queue is None:
                self._lanes.clear()
                return
            block, rows = queue.head()
            rows = self._states.count_fitting(block.needs[:rows])
            if rows == 0:
                return
            lane = queue.lane
            (part,) = lane.take(queue, most=rows)
            if lane.rows == 0:
                del self._lanes[lane]
            self._states.reserve(part)
            yield part, part.lanes[lane.stage.name]
