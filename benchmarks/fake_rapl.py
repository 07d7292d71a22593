"""A package's energy counter as the kernel shows it, driven by the CPU time that is really used.

For machines without one: what it counts is known exactly, so what is made of it can be checked.
"""

import contextlib
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

from monitoring.meters.model import read_busy_s

STAT = Path("/proc/stat")
ZONE = "intel-rapl:0"
RANGE_UJ = 262_143_328_850
EVERY_S = 0.02


class FakeRapl:
    """`with FakeRapl(root, idle_w, busy_core_w):`; `root` stands for `/sys`."""

    def __init__(self, root: Path, idle_w: float, busy_core_w: float) -> None:
        self.root = root
        self._watts = idle_w, busy_core_w
        self._zone = root / "class" / "powercap" / ZONE
        self._stop = threading.Event()
        self._began = (time.monotonic(), read_busy_s(STAT))
        self._thread = threading.Thread(target=self._count)

    def __enter__(self) -> "FakeRapl":
        self._zone.mkdir(parents=True)
        (self._zone / "name").write_text("package-0\n")
        (self._zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def joules(self) -> float:
        """So far, by now."""
        idle_w, busy_core_w = self._watts
        began, began_s = self._began
        return idle_w * (time.monotonic() - began) + busy_core_w * (read_busy_s(STAT) - began_s)

    def _count(self) -> None:
        while not self._stop.wait(EVERY_S):
            with contextlib.suppress(OSError):  # somebody has hidden it
                self._write()

    def _write(self) -> None:
        """As one write, so that nobody reads half a number."""
        with tempfile.NamedTemporaryFile("w", dir=self._zone, delete=False) as file:
            file.write(f"{int(self.joules() * 1e6)}\n")
        path = Path(file.name)
        path.chmod(0o644)
        path.replace(self._zone / "energy_uj")
