"""Times of several runs in turns, so that a change of the machine's speed meets all of them."""

import statistics
import time
from collections.abc import Callable, Sequence

Run = Callable[[], object]


def time_in_turns(
    runs: Sequence[Run],
    rows: int,
    rounds: int,
    clock: Callable[[], float] = time.thread_time,
    *,
    least_rows: int,
    warm_up: bool = True,
) -> list[float]:
    """Each one's median over rounds, in seconds a row, after one that warms up.

    A run of fewer than `least_rows` is repeated within a round: long enough for the clock.
    """
    repeats = max(1, least_rows // rows)
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + warm_up):
        for one, spent in zip(runs, seconds, strict=True):
            started = clock()
            for _ in range(repeats):
                one()
            spent.append((clock() - started) / (repeats * rows))
    return [statistics.median(spent[warm_up:]) for spent in seconds]
