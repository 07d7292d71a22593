"""Intel's and AMD's energy counters by the kernel's powercap tree, `/sys/class/powercap`.

Packages and their DRAM are counted; cores and graphics are parts of a package already, `psys` is
the whole platform and would count everything twice. A counter starts again at 0 after
`max_energy_range_uj`, every few minutes under load: it has to be read more often than that.
https://docs.kernel.org/power/powercap/powercap.html
"""

from collections.abc import Mapping
from pathlib import Path

from monitoring.meters.meter import MeterFailed, Source
from monitoring.meters.sysfs import read_number, read_text

# CVE-2020-8694: since Linux 5.10 the counters are root's, for they tell what others compute.
GRANT = (
    "let it by `sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj` after each boot, or run "
    "as root"
)


class RaplMeter:
    """`root` stands for `/sys`. Raises MeterFailed when it has no counter that may be read."""

    source: Source = "rapl"

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._zones = _find_zones(root / "class" / "powercap")

    def read(self) -> Mapping[str, float]:
        return {name: zone.read_j() for name, zone in self._zones.items()}


class _Zone:
    """One counter, unwrapped."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._range_uj = read_number(folder / "max_energy_range_uj")
        self._last_uj = read_number(self._file, GRANT)
        self._total_uj = 0

    def read_j(self) -> float:
        now_uj = read_number(self._file, GRANT)
        step_uj = now_uj - self._last_uj
        self._total_uj += step_uj if step_uj >= 0 else step_uj + self._range_uj + 1
        self._last_uj = now_uj
        return self._total_uj / 1e6


def _find_zones(folder: Path) -> dict[str, _Zone]:
    """By name: `package-0`, `package-0 dram`."""
    zones: dict[str, _Zone] = {}
    for package in sorted(folder.glob("intel-rapl:*")):
        if package.name.count(":") != 1:
            continue
        name = read_text(package / "name")
        if not name.startswith("package"):
            continue
        zones[name] = _Zone(package)
        for part in sorted(folder.glob(f"{package.name}:*")):
            if read_text(part / "name") == "dram":
                zones[f"{name} dram"] = _Zone(part)
    if not zones:
        raise MeterFailed(f"{folder} has no energy counters; virtual machines seldom have any")
    return zones
