"""A row's cost on the device: its share of each batch, its budget, and the count when it ends."""

from collections.abc import Sequence

from core.messages import Outcome, Step
from monitoring.metrics.counts import FAILED
from serving.scheduling.interfaces import Waiter
from serving.scheduling.lanes import Flight, Lane


def share(batch: Sequence[Flight], steps: Sequence[Step], cpu_s: float) -> None:
    """Divide a batch's CPU time among its rows in proportion to their MACs, evenly if there are
    none. A row that failed counts as an average one.
    """
    told = [step.macs for step in steps if isinstance(step, Step)]
    mean = sum(told) / len(told) if told else 0.0
    work = [step.macs if isinstance(step, Step) else mean for step in steps]
    total = sum(work)
    for flight, macs in zip(batch, work, strict=True):
        flight.device_s += cpu_s * macs / total if total > 0 else cpu_s / len(batch)


def find_over_budget(flight: Flight, lane: Lane) -> Sequence[tuple[Waiter, int]]:
    """Return the waiting calls whose energy budget does not cover another row of that lane; its
    time in the batch is predicted. Empty while there is no answer or no meter.
    """
    if flight.answer is None or all(one.energy_mj is None for one, _ in flight.waiters):
        return ()
    rows = min(lane.rows + 1, lane.max_batch)
    device_s = flight.device_s + lane.times.predict_s(rows) / rows
    energy_mj = lane.metrics.energy.estimate_mj(device_s)
    if energy_mj is None:
        return ()
    return [
        (waiting, row)
        for waiting, row in flight.waiters
        if waiting.energy_mj is not None and waiting.energy_mj < energy_mj
    ]


def spend(flight: Flight, outcome: Outcome | None) -> None:
    """Count the cost of a row that ended, under the exit that answered."""
    if flight.device_s == 0.0:
        return
    lane = flight.lane
    exit = FAILED if outcome is None else outcome.exit
    lane.metrics.count_cost(exit, flight.device_s, flight.spent_macs)
