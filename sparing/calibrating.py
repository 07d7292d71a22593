"""`sparing meter calibrate`: by a meter, by a plug that a person reads, or by published figures."""

import math
import os
import sys
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from monitoring.energy.meters.estimate import estimate
from monitoring.energy.meters.finding import AUTOMATIC, Found, find_meters
from monitoring.energy.meters.meter import MeterFailed
from sparing.failure import Failure
from sparing.metering import NO_TERMINAL, Fit, ask_meter, ask_person, run_loads

BY = ("auto", "table", "plug", "rapl", "ina3221", "pmic", "nvml")


class Wanted(NamedTuple):
    """The command's options."""

    by: str = "auto"
    seconds: float = 20.0
    idle_w: float | None = None
    busy_w: float | None = None
    sysfs: Path = Path("/sys")


def calibrate(wanted: Wanted, console: Console, proc: Path = Path("/proc")) -> Fit:
    """Watts for the settings. Raises Failure where what was asked for cannot be had."""
    if wanted.idle_w is not None or wanted.busy_w is not None:
        return fit_plug(wanted.idle_w, wanted.busy_w)
    if wanted.by not in BY:
        raise Failure(f"--by {wanted.by}: given, allowed are {', '.join(BY)}", 2)
    meters = {found.source: found for found in find_meters(wanted.sysfs)}
    by = _choose(meters) if wanted.by == "auto" else wanted.by
    if by == "table":
        return fit_table(proc)
    if by == "plug":
        if not sys.stdin.isatty():
            raise Failure(f"plug: there is no terminal to ask at; {NO_TERMINAL}", 2)
        return run_loads(ask_person(console), wanted.seconds, console)
    found = meters[by]
    if found.meter is None:
        raise Failure(f"{by}: {found.why_not}")
    return run_loads(ask_meter(found.meter), wanted.seconds, console)


def _choose(meters: dict[str, Found]) -> str:
    for source in AUTOMATIC:
        if meters[source].meter is not None:
            return source
    return "plug" if sys.stdin.isatty() else "table"


def fit_plug(idle_w: float | None, busy_w: float | None) -> Fit:
    """Of what a plug showed with no core busy and with all of them."""
    if idle_w is None or busy_w is None:
        raise Failure("give both --idle-watts and --busy-watts; only one is given", 2)
    if not idle_w < busy_w < math.inf:
        raise Failure(
            f"--busy-watts: given {busy_w:g}, allowed is more than --idle-watts {idle_w:g}", 2
        )
    cores = os.cpu_count() or 1
    note = f"Of a plug: {idle_w:g} W idle, {busy_w:g} W with all {cores} cores busy."
    return Fit(idle_w, (busy_w - idle_w) / cores, note)


def fit_table(proc: Path = Path("/proc")) -> Fit:
    """What the server assumes of this machine, all of it, where nothing is set."""
    try:
        found = estimate(proc)
    except MeterFailed as error:
        raise Failure(f"table: {error}; {NO_TERMINAL}") from None
    note = f"Not measured, assumed: {found.describe()}."
    return Fit(found.watts.idle_w, found.watts.busy_core_w, note)
