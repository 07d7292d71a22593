"""A route's counts in plain Python, which the engine updates on the hot path.

`monitoring.metrics.collector` writes them as text.
"""

import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, get_args

from core.messages import StoppedBy
from monitoring.energy.rate import EnergyRate

if TYPE_CHECKING:
    from monitoring.metrics.generation_counts import GenerationCounts

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
OTHER = "other"  # an exit that is not a stage of the route
FAILED = "failed"  # the cost of rows that ended without an answer


class RouteMetrics(Protocol):
    """Counts of one route, all its versions together; the engine calls these methods."""

    @property
    def energy(self) -> EnergyRate: ...
    @property
    def generation(self) -> "GenerationCounts | None": ...  # of a route that answers in tokens

    def count_rows(
        self, exit: str, stopped_by: str, latency_s: float, rows: int = 1, full_macs: int = 0
    ) -> None:
        """Count answered rows; `full_macs` are the MACs of one of them on the full model alone."""

    def count_batch(
        self, stage: str, rows: int, queue_s: Sequence[tuple[float, int]], run_s: float
    ) -> None:
        """Count a batch: the time in the queue, each with the number of rows that waited so long,
        and the stage's run time, in seconds.
        """

    def count_escalation(self, stage: str, rows: int) -> None:
        """Count rows that continue from this stage to another one."""

    def count_cost(self, exit: str, device_s: float, macs: int) -> None:
        """Count the device time in seconds and the MACs of rows that ended."""

    def add_exemplar(self, exit: str, latency_s: float, trace: str) -> None:
        """Link a counted row to its trace, which shows where its time went."""


class Exemplar(NamedTuple):
    """The newest traced row of a bucket."""

    trace: str
    latency_s: float
    at: float  # seconds since 1970


class Histogram:
    """The number of observations per bucket, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last: over every bound
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class Exit:
    __slots__ = ("device_s", "exemplars", "latency", "macs", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, int] = dict.fromkeys(get_args(StoppedBy), 0)
        self.latency = Histogram(SECONDS)
        self.device_s = 0.0
        self.macs = 0
        self.exemplars: dict[int, Exemplar] = {}  # of latency, by bucket


class BatchSize:
    """The number of batches of one size, and their total run time in seconds."""

    __slots__ = ("batches", "run_s")

    def __init__(self) -> None:
        self.batches = 0
        self.run_s = 0.0


class Stage:
    __slots__ = ("escalated_rows", "last_batch_at", "queue", "run", "sizes")

    def __init__(self) -> None:
        self.sizes: dict[int, BatchSize] = {}  # at most as many as the stage's `max_batch`
        self.last_batch_at = 0.0  # seconds since 1970
        self.queue = Histogram(SECONDS)
        self.run = Histogram(SECONDS)
        self.escalated_rows = 0

    @property
    def batch_rows(self) -> Histogram:
        """Batches by their number of rows."""
        histogram = Histogram(ROWS)
        for rows, size in self.sizes.copy().items():
            histogram.counts[bisect_left(ROWS, rows)] += size.batches
            histogram.total += rows * size.batches
        return histogram


class Counts:
    """RouteMetrics that count."""

    __slots__ = ("energy", "exits", "full_macs", "generation", "stages")

    def __init__(self, energy: EnergyRate | None = None) -> None:
        self.energy = energy or EnergyRate()
        self.stages: dict[str, Stage] = {}
        self.exits: dict[str, Exit] = {OTHER: Exit(), FAILED: Exit()}
        self.full_macs = 0
        self.generation: GenerationCounts | None = None

    def add(self, stages: Sequence[str], exits: Sequence[str] | None = None) -> None:
        """Create the series of these stages and exits; None: the stages are exits."""
        for stage in stages:
            self.stages.setdefault(stage, Stage())
        for exit in stages if exits is None else exits:
            self.exits.setdefault(exit, Exit())

    def count_rows(
        self, exit: str, stopped_by: str, latency_s: float, rows: int = 1, full_macs: int = 0
    ) -> None:
        self.full_macs += full_macs * rows
        counts = self.exits.get(exit)
        if counts is None:
            counts = self.exits[OTHER]
        counts.rows[stopped_by] += rows
        latency = counts.latency  # `observe` inlined: the call is a third of the cost
        latency.counts[bisect_left(SECONDS, latency_s)] += rows
        latency.total += latency_s * rows

    def count_batch(
        self, stage: str, rows: int, queue_s: Sequence[tuple[float, int]], run_s: float
    ) -> None:
        counts = self.stages[stage]
        size = counts.sizes.get(rows)
        if size is None:
            size = counts.sizes[rows] = BatchSize()
        size.batches += 1
        size.run_s += run_s
        counts.last_batch_at = time.time()
        counts.run.observe(run_s)
        queue = counts.queue
        for waited_s, waited_rows in queue_s:
            queue.observe(waited_s, waited_rows)

    def count_escalation(self, stage: str, rows: int) -> None:
        self.stages[stage].escalated_rows += rows

    def count_cost(self, exit: str, device_s: float, macs: int) -> None:
        counts = self.exits.get(exit)
        if counts is None:
            counts = self.exits[OTHER]
        counts.device_s += device_s
        counts.macs += macs

    def add_exemplar(self, exit: str, latency_s: float, trace: str) -> None:
        counts = self.exits.get(exit) or self.exits[OTHER]
        bucket = bisect_left(SECONDS, latency_s)
        counts.exemplars[bucket] = Exemplar(trace, latency_s, time.time())
