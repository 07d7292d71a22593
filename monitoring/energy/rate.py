"""The energy estimate that replies carry. The ledger has the measured joules later."""

from dataclasses import dataclass


@dataclass(slots=True)
class EnergyRate:
    """Joules per second of device time, shared by all routes of a process and set by the ledger."""

    source: str = "none"  # of the joules
    joules_per_s: float | None = None  # of device CPU time; None: unknown

    @property
    def zero_mj(self) -> float | None:
        """Return the millijoules of a row without device time; None without a meter."""
        return None if self.source == "none" else 0.0

    def estimate_mj(self, device_s: float) -> float | None:
        """Estimate the millijoules of so many device seconds; None without a meter."""
        rate = self.joules_per_s
        return None if rate is None else device_s * rate * 1e3
