"""The power monitors of Jetson boards, TI's INA3221, through the kernel's hwmon tree.

Each channel reports the millivolts (`in<N>_input`) and milliamperes (`curr<N>_input`) of a rail,
named in `in<N>_label`. If a channel measures the board's whole input, only that one counts, since
the others are parts of it; else the rails are summed.
https://docs.kernel.org/hwmon/ina3221.html
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from monitoring.energy.meters.meter import MeterFailed, Source
from monitoring.energy.meters.power import PowerIntegral
from monitoring.energy.meters.sysfs import read_number, read_text

WHOLE_INPUT = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0", "VDD_MUX")  # Orin, Nano, Xavier, TX2
CHANNELS = (1, 2, 3)  # further entries of the driver are sums of these


class Ina3221Meter:
    """`root` replaces `/sys`. Raises MeterFailed without such a sensor."""

    source: Source = "ina3221"

    def __init__(
        self, root: Path = Path("/sys"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._channels = _find_channels(root / "class" / "hwmon")
        self._clock = clock
        self._integral = PowerIntegral()
        self.read_joules()

    def read_joules(self) -> Mapping[str, float]:
        watts = {
            name: read_number(volts) * read_number(amperes) / 1e6
            for name, (volts, amperes) in self._channels.items()
        }
        return self._integral.add(watts, self._clock())


def _find_channels(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return the files of millivolts and milliamperes, by rail."""
    rails: dict[str, tuple[Path, Path]] = {}
    for sensor in sorted(folder.glob("hwmon*")):
        if not (sensor / "name").exists() or read_text(sensor / "name") != "ina3221":
            continue
        for number in CHANNELS:
            files = sensor / f"in{number}_input", sensor / f"curr{number}_input"
            label = sensor / f"in{number}_label"
            if label.exists() and all(file.exists() for file in files):
                rails[read_text(label)] = files
    if not rails:
        raise MeterFailed(f"{folder} has no ina3221; only Jetson boards have one")
    whole = {name: rails[name] for name in WHOLE_INPUT if name in rails}
    return dict([next(iter(whole.items()))]) if whole else rails
