"""The cost of rows on the device: their share of each batch, their budget, the count at the end."""

from collections.abc import Sequence

import numpy as np

from core.columns import Steps
from core.messages import Outcomes
from monitoring.energy.rate import EnergyRate
from monitoring.metrics.counts import FAILED
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.interfaces import Waiter


def divide_device_s(steps: Steps, device_s: float) -> "float | np.ndarray":
    """Divide a batch's device time among its rows in proportion to their MACs, evenly if there are
    none: an array, or one number for all.
    """
    macs = steps.macs
    if not isinstance(macs, int) and (total := int(macs.sum())) > 0:
        return device_s * macs / total
    return device_s / len(steps)


def share(batch: Sequence[Block], steps: Steps, device_s: float) -> None:
    """Add each row's part of a batch's device time to its costs."""
    rows_s = divide_device_s(steps, device_s)
    if isinstance(rows_s, float):
        for block in batch:
            block.device_s += rows_s
        return
    start = 0
    for block in batch:
        end = start + len(block)
        block.device_s = block.device_s + rows_s[start:end]
        start = end


def count_generation(lane: Lane, steps: Steps, device_s: float) -> None:
    """Count a batch's device time and joules in the metrics of a route that answers in tokens, by
    exit.
    """
    counts, answers = lane.metrics.generation, steps.answers
    if counts is None or answers is None:
        return
    rows_s = np.broadcast_to(divide_device_s(steps, device_s), len(steps))
    seconds = np.bincount(np.broadcast_to(answers.exits, len(steps)), rows_s)
    for index in np.flatnonzero(seconds).tolist():
        counts.count_device_s(
            lane.stage.name, answers.names[index], float(seconds[index]), lane.metrics.energy
        )


def add_macs(block: Block, macs: "int | np.ndarray", start: int) -> None:
    """Add the MACs of a batch, in which the block's rows begin at `start`."""
    if isinstance(macs, int):
        block.macs = block.macs + macs
    else:
        block.macs = block.macs + macs[start : start + len(block)]


def estimate_mj(energy: EnergyRate, device_s: "float | np.ndarray") -> "float | np.ndarray | None":
    """Return the estimated millijoules of each row; None without a meter."""
    if isinstance(device_s, float):
        return energy.estimate_mj(device_s)
    per_s = energy.estimate_mj(1.0)
    return None if per_s is None else device_s * per_s


def find_over_budget(block: Block, lane: Lane) -> Sequence[tuple[Waiter, Sequence[int]]]:
    """Return the waiting calls whose energy budget does not cover another row of that lane, with
    the positions of the rows concerned; its time in the batch is predicted. Empty while there is
    no answer or no meter.
    """
    if block.answers is None:
        return ()
    limited = [one for one in block.waiters() if one.energy_mj is not None]
    if not limited:
        return ()
    rows = min(lane.rows + len(block), lane.max_batch)
    device_s = block.device_s + lane.times.predict_s(rows) / rows
    energy_mj = estimate_mj(lane.metrics.energy, device_s)
    if energy_mj is None:
        return ()
    by_row = np.broadcast_to(energy_mj, len(block))
    found = [(one, np.flatnonzero(by_row > one.energy_mj).tolist()) for one in limited]
    return [(one, places) for one, places in found if places]


def average_cost_share(batch: Sequence[Block]) -> float:
    """Return a row's mean cost in the first stage, relative to that at the default budget."""
    rows = sum([len(block) for block in batch])
    return sum([len(block) * block.cost_share for block in batch]) / rows


def spend(block: Block, outcomes: Outcomes | None, at: Sequence[int]) -> None:
    """Count the cost of rows that ended, under the exits that answered; together those of one
    exit.
    """
    device_s, macs = block.device_s, block.macs
    if isinstance(device_s, float) and device_s == 0.0:
        return
    metrics, rows = block.lane.metrics, len(block)
    if outcomes is None or rows == 1 or isinstance(outcomes.exits, int):
        exit = FAILED if outcomes is None else outcomes.exit(at[0])
        metrics.count_cost(exit, _total(device_s, rows), int(_total(macs, rows)))
        return
    exits = outcomes.exits[at[0] : at[0] + rows] if isinstance(at, range) else outcomes.exits[at]
    seconds = np.bincount(exits, np.broadcast_to(device_s, rows))
    exit_macs = np.bincount(exits, np.broadcast_to(macs, rows))  # exact up to 2**53
    for exit_index in np.flatnonzero(np.bincount(exits)).tolist():
        name = outcomes.names[exit_index]
        metrics.count_cost(name, float(seconds[exit_index]), int(exit_macs[exit_index]))


def _total(values: "float | np.ndarray", rows: int) -> float:
    return float(values.sum()) if isinstance(values, np.ndarray) else values * rows
