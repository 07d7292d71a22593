"""A package's energy counter as the kernel shows it, driven by the CPU time that is really used.

For machines without one. Its count is known exactly, so the energy figures can be verified.
"""

import contextlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from monitoring.energy.meters.busy import read_busy_s

STAT = Path("/proc/stat")
ZONE = "intel-rapl:0"
EVERY_S = 0.02
RANGE_UJ = 262_143_328_850


def write_rapl(root: Path, zones: Mapping[str, str], range_uj: int = RANGE_UJ) -> Path:
    """Zones as `{"intel-rapl:0": "package-0", "intel-rapl:0:0": "dram"}`, counting from 0; returns
    the folder of all.
    """
    folder = root / "class" / "powercap"
    for zone, name in zones.items():
        (folder / zone).mkdir(parents=True)
        (folder / zone / "name").write_text(f"{name}\n")
        (folder / zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
        set_uj(folder, zone, 0)
    return folder


def set_uj(folder: Path, zone: str, energy_uj: int) -> None:
    """As one write, so that a reader never sees half a number."""
    new = folder / zone / "energy_uj.new"
    new.write_text(f"{energy_uj}\n")
    new.replace(folder / zone / "energy_uj")


class FakeRapl:
    """`with FakeRapl(root, idle_w, busy_core_w):`; `root` stands for `/sys`."""

    def __init__(self, root: Path, idle_w: float, busy_core_w: float) -> None:
        self.root = root
        self._watts = idle_w, busy_core_w
        self._stop = threading.Event()
        self._began = (time.monotonic(), read_busy_s(STAT))
        self._thread = threading.Thread(target=self._count)

    def __enter__(self) -> "FakeRapl":
        self._folder = write_rapl(self.root, {ZONE: "package-0"})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def joules(self) -> float:
        """So far, by now."""
        idle_w, busy_core_w = self._watts
        began, began_s = self._began
        return idle_w * (time.monotonic() - began) + busy_core_w * (read_busy_s(STAT) - began_s)

    def _count(self) -> None:
        while not self._stop.wait(EVERY_S):
            with contextlib.suppress(OSError):  # a test has hidden it
                set_uj(self._folder, ZONE, int(self.joules() * 1e6))
