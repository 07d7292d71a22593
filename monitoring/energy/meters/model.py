"""An energy estimate without a meter: watts of the idle machine, plus watts per busy core.

The model is linear, so half the work is half the energy above idle; no curve was measured. The
watts come from the settings, else from `estimate.py`; `sparing meter calibrate` fits them to a
machine. The result is an estimate, and its source is always reported as `model`.
"""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from monitoring.energy.meters.meter import Source


class Watts(NamedTuple):
    """Watts of a whole machine; each busy core adds `busy_core_w`."""

    idle_w: float
    busy_core_w: float
    dram_w: float = 0.0


class ModelMeter:
    """`read_busy_s` returns the machine's busy core-seconds so far."""

    source: Source = "model"

    def __init__(
        self,
        watts: Watts,
        read_busy_s: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        *,
        basis: str = "",  # the source of the watts, for the log
    ) -> None:
        self.watts = watts
        self.basis = basis
        self._read_busy_s = read_busy_s
        self._clock = clock
        self._begin_s = clock()
        self._begin_busy_s = read_busy_s()

    def read_joules(self) -> Mapping[str, float]:
        passed_s = self._clock() - self._begin_s
        busy_s = self._read_busy_s() - self._begin_busy_s
        return {
            "cpu": self.watts.idle_w * passed_s + self.watts.busy_core_w * busy_s,
            "dram": self.watts.dram_w * passed_s,
        }
