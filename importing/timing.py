"""What a row of each stage costs: CPU time of one thread, and joules, measured in turns.

In each round every stage has its turn, and the median of the rounds counts, so that a slow period
of the machine does not affect one stage alone.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from importing.onnx_files.graphs import Array, Feed, RunnableGraph
from importing.stage_files import StageFile

COST_BATCH = 32
ROUNDS = 5
TURN_S = 0.15  # of one stage in one round, at least
MAX_BATCH_ROWS, MAX_BATCH_US = 64, 8_000.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """When an import has to come to its end; its parts then do less."""

    at_s: float  # of `clock`
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(
        cls, minutes: float | None, clock: Callable[[], float] = time.monotonic
    ) -> "Deadline":
        """Return the deadline so many minutes from now; None: never."""
        return cls(float("inf") if minutes is None else clock() + minutes * 60, clock)

    @property
    def passed(self) -> bool:
        return self.clock() >= self.at_s


@dataclass(frozen=True, slots=True)
class Cost:
    """What a row costs."""

    us: float  # CPU time of one thread
    mj: float | None = None  # of the meter; None: there is none
    rounds: int = ROUNDS  # that were measured


def measure_costs(
    stages: Mapping[str, StageFile],
    rows: Feed,
    *,
    rounds: int = ROUNDS,
    turn_s: float = TURN_S,
    read_j: Callable[[], float] | None = None,
    deadline: Deadline | None = None,
) -> dict[str, Cost]:
    """Return the cost of a row for every stage, in batches of COST_BATCH where it can batch.

    `read_j` returns the joules so far. Rounds end once the deadline has passed, the first excepted.
    """
    graphs = {name: stage.open() for name, stage in stages.items()}
    feeds = {
        name: _take(rows, COST_BATCH if stage.batches else 1) for name, stage in stages.items()
    }
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in stages}
    for name, graph in graphs.items():
        graph.run(feeds[name])  # the first run allocates
    for done in range(rounds):
        if done and deadline is not None and deadline.passed:
            break
        for name, graph in graphs.items():
            turns[name].append(_take_turn(graph, feeds[name], turn_s, read_j))
    return {name: _sum_up(found, read_j is not None) for name, found in turns.items()}


def measure_in_turns(stages: Mapping[str, StageFile], rows: Feed) -> dict[str, float]:
    """Return µs a row for every stage."""
    return {name: cost.us for name, cost in measure_costs(stages, rows).items()}


def _take_turn(
    graph: RunnableGraph, feed: Feed, turn_s: float, read_j: Callable[[], float] | None
) -> tuple[float, float]:
    """Run for at least `turn_s`; return µs and mJ a row, 0 mJ without a meter."""
    count = len(next(iter(feed.values())))
    before_j = read_j() if read_j else 0.0
    runs, began_s = 0, time.thread_time()
    while (spent_s := time.thread_time() - began_s) < turn_s or runs == 0:
        graph.run(feed)
        runs += 1
    spent_j = read_j() - before_j if read_j else 0.0
    return spent_s / (runs * count) * 1e6, spent_j / (runs * count) * 1e3


def _sum_up(turns: list[tuple[float, float]], metered: bool) -> Cost:
    us, mj = (statistics.median(column) for column in zip(*turns, strict=True))
    return Cost(us, mj if metered else None, len(turns))


def limit_batch(us_per_row: float, batches: bool) -> int:
    """Return the largest batch, a power of two, that takes no longer than a deadline can spare."""
    if not batches:
        return 1
    rows = MAX_BATCH_ROWS
    while rows > 1 and rows * us_per_row > MAX_BATCH_US:
        rows //= 2
    return rows


def _take(rows: Feed, count: int) -> dict[str, Array]:
    """Take so many rows, from the beginning again where there are fewer."""
    return {name: array[np.arange(count) % len(array)] for name, array in rows.items()}
