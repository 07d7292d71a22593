"""No meter at all: watts assumed for a machine that is idle and for each core that is busy.

Linear, so that half the work is half the energy above idle: what a curve would add is nothing that
was measured here. The watts are the settings', or those that `estimate.py` finds for the processor;
`sparing meter calibrate` fits them to a machine. The result is an estimate, and is called `model`
wherever it is shown.
"""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from monitoring.energy.meters.meter import Source


class Watts(NamedTuple):
    """Of a whole machine; each core that is busy adds `busy_core_w`."""

    idle_w: float
    busy_core_w: float
    dram_w: float = 0.0


class ModelMeter:
    """`read_busy_s` gives the core-seconds so far of the machine that the watts are for."""

    source: Source = "model"

    def __init__(
        self,
        watts: Watts,
        read_busy_s: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        *,
        basis: str = "",  # where the watts come from, for the log
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
