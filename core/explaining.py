"""The path of an explained row through its stages, and the seam for pipelines that draw it.

The scheduler adds a `StageRun` where it traces a batch, so an explanation tells of the very run
that gave the answer. A path holds data of its request and is only for that request's reply. Where
a pipeline has `explain_picture` and the caller wants its picture, the row's `controls` have
`EXPLAIN` (1.0; NaN for other rows of the batch), and a stage may return `Steps.notes` for it.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from core.messages import Array, Outcome

EXPLAIN = "explain"  # among the controls
MAX_RUNS = 256  # of one row; further ones are only counted


class StageRun(NamedTuple):
    """A run of one stage on a row."""

    stage: str
    queue_s: float  # that the row waited for it
    device_s: float  # that its batch took
    cpu_s: float  # the row's share of the batch's CPU time
    batch_rows: int
    macs: int
    energy_mj: float | None
    joined: bool  # computed for another request with the same row
    answer: Outcome | None
    next_stage: str | None
    carried: Mapping[str, Array]  # the row's inputs at the next stage
    notes: Mapping[str, Array]  # the row's part of `Steps.notes`

    @property
    def failed(self) -> bool:
        return self.answer is None and self.next_stage is None


class RowPath:
    """The runs of one row, in order, since a time of `time.monotonic()`."""

    __slots__ = ("dropped", "runs", "since", "wants_picture")

    def __init__(self, since: float) -> None:
        self.since = since
        self.wants_picture = False
        self.runs: list[StageRun] = []
        self.dropped = 0

    def add(self, run: StageRun) -> None:
        if len(self.runs) < MAX_RUNS:
            self.runs.append(run)
        else:
            self.dropped += 1


@runtime_checkable
class ExplainsByPicture(Protocol):
    """A pipeline that draws the path of a row."""

    @property
    def draws(self) -> bool:
        """Whether this route can draw; its files decide."""

    def explain_picture(self, inputs: Mapping[str, Array], path: RowPath, /) -> np.ndarray | None:
        """Return the picture, uint8 [H, W] or [H, W, 3], of a row's inputs (without the row
        dimension) and its path; None if the path lacks what it needs. Must not block for long.
        """
