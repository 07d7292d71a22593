"""No meter at all: watts assumed for a machine that is idle and for each core that is busy.

Linear, so that half the work is half the energy above idle: what a curve would add is nothing that
was measured here. `sparing meter calibrate` fits the watts to a machine. What it says is an
estimate and called `model` wherever it is shown.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from monitoring.meters.meter import MeterFailed, Source
from monitoring.meters.sysfs import read_text

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Watts:
    """The defaults are a guess for a small server: 4 W a busy core, 3 W for 8 GB of DRAM."""

    idle_w: float = 5.0
    busy_core_w: float = 4.0
    dram_w: float = 3.0


class ModelMeter:
    """`proc` stands for `/proc`, whose count of busy cores is that of the whole machine."""

    source: Source = "model"

    def __init__(
        self,
        watts: Watts = Watts(),
        proc: Path = Path("/proc"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watts = watts
        self._stat = proc / "stat"
        self._clock = clock
        self._begin_s = clock()
        self._begin_busy_s = read_busy_s(self._stat)

    def read(self) -> Mapping[str, float]:
        passed_s = self._clock() - self._begin_s
        busy_s = read_busy_s(self._stat) - self._begin_busy_s
        watts = self._watts
        return {
            "cpu": watts.idle_w * passed_s + watts.busy_core_w * busy_s,
            "dram": watts.dram_w * passed_s,
        }


def read_busy_s(stat: Path) -> float:
    """Core-seconds that all cores together have been busy since boot, waiting for disks aside."""
    first, *fields = read_text(stat).splitlines()[0].split()
    if first != "cpu" or len(fields) < 8:
        raise MeterFailed(f"{stat} does not begin with the cpu line")
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    del steal  # taken by other machines on the same hardware
    return (user + nice + system + irq + softirq) / _TICKS_PER_S
