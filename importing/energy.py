"""Where the joules of an import come from: this machine's meter, else CPU time and published watts.

A meter counts the whole processor, so its joules hold whatever else runs there meanwhile. Without
one, energy is proportional to CPU time, and the verdict says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from monitoring.energy.meters.estimate import estimate
from monitoring.energy.meters.finding import AUTOMATIC_SOURCES, METER_FACTORIES
from monitoring.energy.meters.meter import Meter, MeterFailed

MODEL = "model"


@dataclass(frozen=True, slots=True)
class EnergySource:
    """A meter, or the watts that stand in for one."""

    name: str  # the meter's source; `model` without one; "" if nothing is known
    basis: str  # one clause for people
    read_j: Callable[[], float] | None = None  # joules of the processor so far; None: no meter
    busy_core_w: float = 0.0  # of a CPU that computes, above idle

    def estimate_mj(self, us_per_row: float) -> float | None:
        """Return the estimate for CPU time; None where no watts are known."""
        return us_per_row * self.busy_core_w / 1e3 if self.busy_core_w else None


def find_energy(sysfs: Path = Path("/sys"), proc: Path = Path("/proc")) -> EnergySource:
    """Open the first meter that can be read, else look up this processor's watts."""
    for source in AUTOMATIC_SOURCES:
        try:
            meter = METER_FACTORIES[source](sysfs)
        except MeterFailed:
            continue
        basis = f"measured by {source}, of the whole processor and whatever runs on it"
        return EnergySource(source, basis, _read(meter))
    try:
        watts = estimate(proc).watts.busy_core_w
    except MeterFailed:
        return EnergySource("", "unknown: there is no meter, and this processor is not known")
    basis = f"not measured: CPU time at {watts:.3g} W a busy CPU, from published figures"
    return EnergySource(MODEL, basis, busy_core_w=watts)


def _read(meter: Meter) -> Callable[[], float]:
    return lambda: sum(meter.read_joules().values())
