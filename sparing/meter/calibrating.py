"""`sparing meter calibrate`: with a meter, a wall plug read by a person, or published figures."""

import math
import os
import sys
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from monitoring.energy.meters.estimate import estimate
from monitoring.energy.meters.finding import AUTOMATIC_SOURCES, MeterProbe, find_meters
from monitoring.energy.meters.meter import MeterFailed
from sparing.failure import Failure
from sparing.meter.metering import NO_TERMINAL, Fit, meter_power, run_loads, typed_power

BY = ("auto", "table", "plug", "rapl", "ina3221", "pmic", "nvml")


class CalibrateOptions(NamedTuple):
    """The command's options."""

    by: str = "auto"
    seconds: float = 20.0
    idle_w: float | None = None
    busy_w: float | None = None
    sysfs: Path = Path("/sys")


def calibrate(options: CalibrateOptions, console: Console, proc: Path = Path("/proc")) -> Fit:
    """Return watts for the settings. Raises Failure if the chosen source is not available."""
    if options.idle_w is not None or options.busy_w is not None:
        return fit_plug(options.idle_w, options.busy_w)
    if options.by not in BY:
        raise Failure(f"--by {options.by}: given, allowed are {', '.join(BY)}", 2)
    meters = {found.source: found for found in find_meters(options.sysfs)}
    by = _choose(meters) if options.by == "auto" else options.by
    if by == "table":
        return fit_table(proc)
    if by == "plug":
        if not sys.stdin.isatty():
            raise Failure(f"plug: there is no terminal to type the watts in; {NO_TERMINAL}", 2)
        return run_loads(typed_power(console), options.seconds, console)
    found = meters[by]
    if found.meter is None:
        raise Failure(f"{by}: {found.why_not}")
    return run_loads(meter_power(found.meter), options.seconds, console)


def _choose(meters: dict[str, MeterProbe]) -> str:
    for source in AUTOMATIC_SOURCES:
        if meters[source].meter is not None:
            return source
    return "plug" if sys.stdin.isatty() else "table"


def fit_plug(idle_w: float | None, busy_w: float | None) -> Fit:
    """Fit the watts that a wall plug showed on the idle machine and with all cores busy."""
    if idle_w is None or busy_w is None:
        raise Failure("give both --idle-watts and --busy-watts; only one is given", 2)
    if not idle_w < busy_w < math.inf:
        raise Failure(
            f"--busy-watts: given {busy_w:g}, it must be more than --idle-watts {idle_w:g}", 2
        )
    cores = os.cpu_count() or 1
    note = f"From a wall plug: {idle_w:g} W idle, {busy_w:g} W with all {cores} cores busy."
    return Fit(idle_w, (busy_w - idle_w) / cores, note)


def fit_table(proc: Path = Path("/proc")) -> Fit:
    """Return the watts that the server assumes for this whole machine without settings."""
    try:
        found = estimate(proc)
    except MeterFailed as error:
        raise Failure(f"table: {error}; {NO_TERMINAL}") from None
    note = f"Not measured, assumed: {found.describe()}."
    return Fit(found.watts.idle_w, found.watts.busy_core_w, note)
