"""The parts of calls and of the perceptual cache that the scheduler uses."""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from core.errors import SparingError
from core.messages import Outcome, RowAnswers
from monitoring.tracing.traces import Trace

if TYPE_CHECKING:
    from serving.scheduling.fair_shares import Claim
    from serving.scheduling.rows.blocks import Block


class Waiter(Protocol):
    """A call that receives the answers of blocks."""

    blocks: "list[Block]"  # that compute its rows; also some that are done
    joined: "list[Block]"  # of other calls, in which it waits for rows

    claim: "Claim | None"  # its position in its share

    @property
    def gone(self) -> Collection[int]:
        """The rows whose own client has disconnected, while others of the call are waited for."""

    @property
    def deadline(self) -> float | None: ...
    @property
    def energy_mj(self) -> float | None: ...
    @property
    def started(self) -> float: ...
    @property
    def streams(self) -> bool: ...
    @property
    def trace(self) -> Trace: ...
    def deliver(self, part: RowAnswers) -> None: ...
    def progress(self, part: RowAnswers) -> None: ...
    def note_progress(self, rows: Iterable[int], now: float) -> None: ...
    def fail(self, error: SparingError, rows: Sequence[int] = ()) -> None:
        """End the call with an error, which concerns these rows; all if there are none."""


class Probe(Protocol):
    """What the perceptual cache needs to know of a row that is computed."""

    @property
    def audited(self) -> object: ...
    def complete(self, outcome: Outcome, ttl_s: float) -> None: ...
