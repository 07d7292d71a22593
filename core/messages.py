"""Messages between endpoints, engine and stages: requests, batches, steps and replies.

Endpoints build a `Request` and encode a `Reply`. The engine turns rows of requests into a `Batch`
for a stage and reads its `Step`s. This module is independent of transports, queues and frameworks.
Objects made for every request or row are NamedTuples: a frozen dataclass takes three times as long
to make.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

# An array belongs to the runtime that made it: numpy for ONNX, a tensor on its device for torch.
Array = Any

Key = bytes  # 16 bytes: a keyed fingerprint of everything that decides an answer

StoppedBy = Literal["confidence", "last_stage", "deadline", "energy", "cache"]

# Empty: in a stream, the row may have a further answer. `failed`: in a request with `partial`.
Ended = StoppedBy | Literal["", "failed"]

# A parameter's value: a bool, int, float or str, or a tuple of one of them. The name decides which.
Control = Any

NO_CONTROLS: Mapping[str, Control] = MappingProxyType({})
NO_ERRORS: Mapping[int, str] = MappingProxyType({})


class StateHandle:
    """State that a stage leaves on its device for a row's next step, such as a key-value cache.

    Opaque to the engine, which counts `size_bytes` against the device's limit and calls `free`
    once, when the row ends, fails, is cancelled or expires.
    """

    __slots__ = ("size_bytes", "value")

    def __init__(self, value: Array, size_bytes: int) -> None:
        self.value: Array | None = value
        self.size_bytes = size_bytes

    def free(self) -> None:
        """Release the device's memory; freeing twice is safe."""
        self.value = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A stage's input: collated rows of any number of requests."""

    inputs: Mapping[str, Array]  # leading dimension = rows; ragged inputs as lists
    # One value per row. `min_confidence` is there if a row sets it, with NaN for the others; the
    # route's declared parameters always are: float64, int64, bool, or objects (str, tuples).
    controls: Mapping[str, np.ndarray]
    states: Sequence[StateHandle | None]  # state that the row's earlier step left on the device


class Outcome(NamedTuple):
    """An answer for one row: `outputs` without the row dimension, `confidence` in [0, 1]."""

    outputs: Mapping[str, np.ndarray]
    confidence: float
    exit: str  # the stage that gave the answer


class Outcomes:
    """Answers of N rows, as columns."""

    __slots__ = ("confidence", "exits", "names", "outputs", "packed")

    def __init__(
        self,
        outputs: Mapping[str, Array],  # [N, ...]; a list of N arrays where rows differ in size
        confidence: np.ndarray,  # float64 [N]
        exits: np.ndarray | int,  # index into `names`, by row; an int if all rows have the same
        names: Sequence[str],  # of stages
    ) -> None:
        self.outputs = outputs
        self.confidence = confidence
        self.exits = exits
        self.names = names
        self.packed: Sequence[Any] = ()  # by row, once the local cache has stored some of them

    def exit(self, at: int) -> str:
        """Return the stage that answered the row."""
        return self.names[self.exits if isinstance(self.exits, int) else int(self.exits[at])]

    def row(self, at: int) -> Outcome:
        """Return the answer of one row."""
        outputs = {
            name: value
            for name, column in self.outputs.items()
            if (value := column[at]) is not None
        }
        return Outcome(outputs, float(self.confidence[at]), self.exit(at))


class Next(NamedTuple):
    """The next stage of a row, and its inputs without the row dimension."""

    stage: str
    inputs: Mapping[str, Array]
    state: StateHandle | None = None


class Step(NamedTuple):
    """A stage's result for one row. With neither `answer` nor `next`, the row has failed."""

    macs: int  # executed, not assumed: a constant of the stage, or what it counted
    answer: Outcome | None  # the best answer so far; with next=None the final one
    next: Next | None


class Stage(Protocol):
    """A schedulable part of a pipeline. `run` is re-entrant, with one step per row, in order:
    `core.columns.Steps`, or for a simple pipeline a list of `Step`.
    """

    @property
    def name(self) -> str: ...
    def run(self, rows: Batch, /) -> Sequence[Step]: ...


class Pipeline(Protocol):
    """Named stages, where rows enter, and the identity of weights, thresholds and preprocessing."""

    @property
    def digest(self) -> bytes: ...
    @property
    def first(self) -> str: ...
    @property
    def stages(self) -> Mapping[str, Stage]: ...


class Request(NamedTuple):
    """One call of one route. `inputs` have a leading dimension of rows, the same for all."""

    route: str
    inputs: Mapping[str, np.ndarray]
    version: str | None = None  # None: the newest
    deadline: float | None = None  # an instant of time.monotonic(), seconds
    energy_mj: float | None = None
    controls: Mapping[str, Control] = NO_CONTROLS  # min_confidence; declared ones, no defaults
    no_cache: bool = False
    partial: bool = False  # a row that fails does not fail the others
    stream: bool = False
    tenant: str = ""  # requests share cached answers only within a tenant
    caller: str = ""  # whose share of device time, queues and cache it uses
    rollout_key: str = ""  # decides its version during a rollout; empty: the caller does


class Answer(NamedTuple):
    """One row of a reply: the outcome, why the row stopped, and its cost."""

    outcome: Outcome
    stopped_by: Ended
    cached: bool
    macs: int
    energy_mj: float | None
    latency_s: float
    similar: bool = False  # the answer of a similar picture


class RowAnswers(NamedTuple):
    """Answers of rows of one request that ended together."""

    rows: Sequence[int]  # of the request
    outcomes: Outcomes
    at: Sequence[int]  # the position of each row in `outcomes`
    stopped_by: Ended
    cached: bool
    macs: int | np.ndarray
    energy_mj: float | np.ndarray | None
    latency_s: float
    similar: bool = False

    def answer(self, place: int) -> Answer:
        """Return one row's answer."""
        return Answer(
            self.outcomes.row(self.at[place]),
            self.stopped_by,
            self.cached,
            *self._costs(place),
            self.latency_s,
            self.similar,
        )

    def pick(self, place: int) -> "RowAnswers":
        """Return one row as the answers of a request that has only this row."""
        outcomes, at = self.outcomes, [self.at[place]]
        costs = self._costs(place)
        return RowAnswers(
            range(1),
            outcomes,
            at,
            self.stopped_by,
            self.cached,
            *costs,
            self.latency_s,
            self.similar,
        )

    def _costs(self, place: int) -> tuple[int, float | None]:
        macs, energy_mj = self.macs, self.energy_mj
        return (
            macs if isinstance(macs, int) else int(macs[place]),
            float(energy_mj[place]) if isinstance(energy_mj, np.ndarray) else energy_mj,
        )


class Reply(NamedTuple):
    """The answers of one request. A stream's replies hold only changed rows."""

    route: str
    version: str
    digest: str  # hex
    certificate: str
    energy_source: str
    parts: Sequence[RowAnswers]  # of a stream: one
    rows: Sequence[int] | None = None  # which rows these are; None: all of them
    final: bool = True
    errors: Mapping[int, str] = NO_ERRORS  # of rows that failed, in a request with `partial`

    @property
    def row_count(self) -> int:
        return sum([len(part.rows) for part in self.parts])

    @property
    def answers(self) -> list[Answer]:
        """The answers by row, in row order."""
        by_row = {
            row: part.answer(place) for part in self.parts for place, row in enumerate(part.rows)
        }
        return [by_row[row] for row in sorted(by_row)]
