"""Intel's and AMD's energy counters in the kernel's powercap tree, `/sys/class/powercap`.

Packages and their DRAM count. Cores and graphics are already parts of a package, and `psys`, the
whole platform, would count everything twice. A counter wraps to 0 after `max_energy_range_uj`,
every few minutes under load, so it has to be read more often than that.
https://docs.kernel.org/power/powercap/powercap.html
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from monitoring.energy.meters.meter import MeterFailed, Source
from monitoring.energy.meters.sysfs import read_number, read_text

# CVE-2020-8694: since Linux 5.10 only root may read the counters, as they leak what others compute.
GRANT = (
    "let it by `sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj` after each boot, or run "
    "as root"
)

LIMIT_W = 10_000.0  # above the power of any package


class RaplMeter:
    """`root` replaces `/sys`. Raises MeterFailed without a readable counter."""

    source: Source = "rapl"

    def __init__(
        self, root: Path = Path("/sys"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._zones = _find_zones(root / "class" / "powercap", clock)

    def read_joules(self) -> Mapping[str, float]:
        return {name: zone.read_j() for name, zone in self._zones.items()}


class _Zone:
    """One counter, with wraps added."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_s = clock()
        self._file = folder / "energy_uj"
        self._range_uj = read_number(folder / "max_energy_range_uj")
        self._last_uj = read_number(self._file, GRANT)
        self._total_uj = 0

    def read_j(self) -> float:
        now_uj, now_s = read_number(self._file, GRANT), self._clock()
        step_uj = now_uj - self._last_uj
        if step_uj < 0:
            step_uj += self._range_uj + 1
            if step_uj > LIMIT_W * 1e6 * (now_s - self._last_s):
                step_uj = now_uj  # not a wrap but a restart at 0, as after a suspend
        self._total_uj += step_uj
        self._last_uj, self._last_s = now_uj, now_s
        return self._total_uj / 1e6


def _find_zones(folder: Path, clock: Callable[[], float]) -> dict[str, _Zone]:
    """Find the counters, by name: `package-0`, `package-0 dram`."""
    zones: dict[str, _Zone] = {}
    for package in sorted(folder.glob("intel-rapl:*")):
        if package.name.count(":") != 1:
            continue
        name = read_text(package / "name")
        if not name.startswith("package"):
            continue
        zones[name] = _Zone(package, clock)
        for part in sorted(folder.glob(f"{package.name}:*")):
            if read_text(part / "name") == "dram":
                zones[f"{name} dram"] = _Zone(part, clock)
    if not zones:
        raise MeterFailed(f"{folder} has no energy counters; virtual machines rarely have them")
    return zones
