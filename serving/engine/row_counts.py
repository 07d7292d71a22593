"""Counts answered rows in their route's metrics."""

from collections import Counter

from core.messages import RowAnswers
from serving.engine.catalog import ServedRoute


def count_rows(served: ServedRoute, part: RowAnswers) -> None:
    """Count the rows under the stages that answered them."""
    outcomes, at = part.outcomes, part.at
    count, rows = served.metrics.count_rows, len(at)
    if rows == 1 or isinstance(outcomes.exits, int):
        count(outcomes.exit(at[0]), part.stopped_by, part.latency_s, rows, served.full_macs)
        return
    for exit, exit_rows in Counter(outcomes.exits[list(at)].tolist()).items():
        name = outcomes.names[exit]
        count(name, part.stopped_by, part.latency_s, exit_rows, served.full_macs)
