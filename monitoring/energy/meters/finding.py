"""Finds this machine's meters, and the reason why others cannot be used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from monitoring.energy.meters.ina3221 import Ina3221Meter
from monitoring.energy.meters.meter import Meter, MeterFailed, Source
from monitoring.energy.meters.nvml import NvmlMeter
from monitoring.energy.meters.pmic import PmicMeter
from monitoring.energy.meters.rapl import RaplMeter

# In the order in which `auto` tries them. A GPU's meter does not measure the CPU that serves, so it
# has to be chosen by name.
AUTOMATIC_SOURCES: tuple[Source, ...] = ("rapl", "ina3221", "pmic")
METER_FACTORIES: Mapping[str, Callable[[Path], Meter]] = {
    "rapl": RaplMeter,
    "ina3221": Ina3221Meter,
    "pmic": lambda _: PmicMeter(),
    "nvml": lambda _: NvmlMeter(),
}


@dataclass(frozen=True, slots=True)
class MeterProbe:
    """A kind of meter: the open meter, or the reason why it cannot be opened."""

    source: str
    meter: Meter | None
    why_not: str = ""


def find_meters(sysfs: Path = Path("/sys")) -> list[MeterProbe]:
    """Try all kinds of meters, the automatic ones first."""
    found = []
    for source, make in METER_FACTORIES.items():
        try:
            found.append(MeterProbe(source, make(sysfs)))
        except MeterFailed as error:
            found.append(MeterProbe(source, None, str(error)))
    return found
