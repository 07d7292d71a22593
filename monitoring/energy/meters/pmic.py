"""The power chip of the Raspberry Pi 5, read with the firmware's own command.

`vcgencmd pmic_read_adc` prints volts and amperes of each rail; their products are summed. Power of
USB devices does not pass the chip and is not measured. A reading starts a process, which costs some
milliseconds, so the chip is read once per second and the value is reused until then.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping

from monitoring.energy.meters.meter import MeterFailed, Source
from monitoring.energy.meters.power import PowerIntegral

PROGRAM = "vcgencmd"
LIMIT_S = 2.0
MAX_READING_AGE_S = 1.0
_LINE = re.compile(r"^\s*(\w+)_([AV]) \w+\(\d+\)=([\d.]+)[AV]\s*$", re.MULTILINE)


class PmicMeter:
    """Raises MeterFailed if the command is missing or does not know a power chip."""

    source: Source = "pmic"

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        program = shutil.which(PROGRAM)
        if program is None:
            raise MeterFailed(f"{PROGRAM} is not installed; only Raspberry Pis have it")
        self._program = program
        self._clock = clock
        self._integral = PowerIntegral()
        self._power_w = 0.0
        self._read_at_s: float | None = None
        self.read_joules()

    def read_joules(self) -> Mapping[str, float]:
        now_s = self._clock()
        if self._read_at_s is None or now_s - self._read_at_s >= MAX_READING_AGE_S:
            self._power_w = self._ask()
            self._read_at_s = now_s = self._clock()
        return self._integral.add({"board": self._power_w}, now_s)

    def _ask(self) -> float:
        try:
            done = subprocess.run(
                [self._program, "pmic_read_adc"],
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MeterFailed(f"{PROGRAM}: {error}") from None
        return parse_watts(done.stdout)


def parse_watts(text: str) -> float:
    """Return the watts of all rails with volts and amperes. Raises MeterFailed if none."""
    rails: dict[str, dict[str, float]] = {}
    for rail, unit, value in _LINE.findall(text):
        rails.setdefault(rail, {})[unit] = float(value)
    whole = [rail["A"] * rail["V"] for rail in rails.values() if len(rail) == 2]
    if not whole:
        raise MeterFailed(
            f"{PROGRAM} pmic_read_adc lists no rails; only the Raspberry Pi 5 has them"
        )
    return sum(whole)
