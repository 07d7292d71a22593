"""What a row's work costs now: the estimate that replies carry. The ledger has the truth, later."""

from dataclasses import dataclass


@dataclass(slots=True)
class EnergyRate:
    """Shared by all routes of a process; whoever keeps the ledger sets it."""

    source: str = "none"  # of the joules
    joules_per_s: float | None = None  # of device CPU time; None: not known

    @property
    def zero_mj(self) -> float | None:
        """Of what took no time on the device."""
        return None if self.source == "none" else 0.0

    def estimate_mj(self, device_s: float) -> float | None:
        """Millijoules of so much time on the device; None where there is no meter."""
        rate = self.joules_per_s
        return None if rate is None else device_s * rate * 1e3
