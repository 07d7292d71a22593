"""What a row of each stage costs: CPU time of one thread, measured in turns.

In each round every stage has its turn, and the median of the rounds counts, so that a slow period
of the machine does not affect one stage alone.
"""

import statistics
import time
from collections.abc import Mapping

import numpy as np

from importing.onnx_files.graphs import Array, Feed
from importing.stage_files import StageFile

COST_BATCH = 32
ROUNDS = 5
TURN_S = 0.15  # of one stage in one round, at least
MAX_BATCH_ROWS, MAX_BATCH_US = 64, 8_000.0


def measure_in_turns(
    stages: Mapping[str, StageFile],
    rows: Feed,
    *,
    rounds: int = ROUNDS,
    turn_s: float = TURN_S,
) -> dict[str, float]:
    """Return µs a row for every stage, in batches of COST_BATCH where it can batch."""
    graphs = {name: stage.open() for name, stage in stages.items()}
    feeds = {
        name: _take(rows, COST_BATCH if stage.batches else 1) for name, stage in stages.items()
    }
    times: dict[str, list[float]] = {name: [] for name in stages}
    for name, graph in graphs.items():
        graph.run(feeds[name])  # the first run allocates
    for _ in range(rounds):
        for name, graph in graphs.items():
            count = len(next(iter(feeds[name].values())))
            runs, began_s = 0, time.thread_time()
            while (spent_s := time.thread_time() - began_s) < turn_s or runs == 0:
                graph.run(feeds[name])
                runs += 1
            times[name].append(spent_s / (runs * count) * 1e6)
    return {name: statistics.median(found) for name, found in times.items()}


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
