"""What rows have taken of the device: shared out by batches, counted when a row ends."""

from collections.abc import Sequence

from core.messages import Outcome, Step
from monitoring.counts import FAILED
from serving.lanes import Flight


def share(batch: Sequence[Flight], steps: Sequence[Step], cpu_s: float) -> None:
    """A batch's CPU time among its rows, by the MACs of each; evenly where there are none."""
    work = [step.macs if isinstance(step, Step) else 0 for step in steps]
    total = sum(work)
    for flight, macs in zip(batch, work, strict=True):
        flight.device_s += cpu_s * macs / total if total > 0 else cpu_s / len(batch)


def spend(flight: Flight, outcome: Outcome | None) -> None:
    """Count what a row that ended has taken, under the exit that answered."""
    if flight.device_s == 0.0:
        return
    lane = flight.lane
    exit = FAILED if outcome is None else outcome.exit
    lane.metrics.spend(exit, flight.device_s, flight.spent_macs, lane.full_macs)
