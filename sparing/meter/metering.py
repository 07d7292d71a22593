"""`sparing meter`: this machine's energy meters, and the loads that fit the estimate's watts."""

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from monitoring.energy.meters.busy import find_quota, read_busy_s
from monitoring.energy.meters.estimate import estimate
from monitoring.energy.meters.finding import find_meters
from monitoring.energy.meters.meter import Meter, MeterFailed
from sparing.failure import Failure

READS = 20
STAT = Path("/proc/stat")
START_S = 1.0  # until all cores are busy
NO_TERMINAL = "give the plug's watts as --idle-watts and --busy-watts, or use --by table"
ReadPower = Callable[[int, float], float]  # busy cores, seconds -> mean watts


@dataclass(frozen=True, slots=True)
class Point:
    """One load: the mean number of busy cores and the mean power."""

    busy_cores: float
    power_w: float


@dataclass(frozen=True, slots=True)
class Fit:
    """power = idle_w + busy_core_w * busy cores, by least squares."""

    idle_w: float
    busy_core_w: float
    note: str  # the quality of the fit, or its assumptions

    def as_toml(self) -> str:
        return (
            f"# {self.note}\n[energy.model]\n"
            f"idle_w = {self.idle_w:.2f}\nbusy_core_w = {self.busy_core_w:.2f}\ndram_w = 0.0\n"
        )


def show_meters(sysfs: Path, console: Console) -> None:
    """Print all kinds of meters: what each reads and what a reading costs, or why it cannot."""
    table = Table(
        "meter", "components", "cost of a reading", "why not here", box=None, pad_edge=False
    )
    for found in find_meters(sysfs):
        if found.meter is None:
            table.add_row(found.source, "", "", found.why_not)
            continue
        try:
            names, cost_us = _time_reading(found.meter)
        except MeterFailed as error:
            table.add_row(found.source, "", "", str(error))
        else:
            table.add_row(found.source, ", ".join(names), f"{cost_us:.0f} µs", "")
    table.add_row("model", "cpu, dram", "", "always; an estimate, not a measurement (see below)")
    console.print(table)
    console.print(
        f"\nWatts of the estimate: {describe_model()}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def describe_model() -> str:
    """Describe the estimate that is used without a meter, and its basis."""
    try:
        found = estimate(quota=find_quota(Path("/proc"), Path("/sys")))
    except MeterFailed as error:
        return f"no estimate, {error}; set [energy.model]"
    return (
        f"unless [energy.model] is set, {found.describe()}. "
        "`sparing meter calibrate` fits them to this machine."
    )


def run_loads(request_json: ReadPower, seconds: float, console: Console) -> Fit:
    """Keep 0, 1, half and all cores busy, `seconds` each, and fit the power that `request_json`
    returns.

    Raises Failure if the fit is not possible.
    """
    cores = os.cpu_count() or 1
    loads = sorted({0, 1, cores // 2, cores})
    return fit(
        [measure(load, request_json, seconds) for load in track(loads, "loads", console=console)]
    )


def measure(load: int, request_json: ReadPower, seconds: float) -> Point:
    """Keep `load` cores busy; return the power, and how many cores were really busy."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    busy = [context.Process(target=_spin, args=(stop,), daemon=True) for _ in range(load)]
    for process in busy:
        process.start()
    try:
        time.sleep(START_S if load else 0.0)
        began_s, began = read_busy_s(STAT), time.monotonic()
        power_w = request_json(load, seconds)
        passed_s = max(time.monotonic() - began, 1e-3)
        return Point((read_busy_s(STAT) - began_s) / passed_s, power_w)
    finally:
        stop.set()
        for process in busy:
            process.join(5)
            process.kill()


def fit(points: Sequence[Point]) -> Fit:
    """Fit a line by least squares. Raises Failure if loads do not differ or the fit is negative."""
    cores = np.array([point.busy_cores for point in points])
    powers = np.array([point.power_w for point in points])
    if len(points) < 2 or np.ptp(cores) < 0.4:
        raise Failure("the loads did not differ: the machine is too busy to calibrate")
    slope, idle_w = np.polyfit(cores, powers, 1)
    if slope < 0 or idle_w < 0:
        raise Failure(
            f"the best fit is {idle_w:.2f} W idle and {slope:.2f} W per busy core, which cannot "
            "be; was the machine busy with something else?"
        )
    residual_w = float(np.abs(powers - (idle_w + slope * cores)).max())
    return Fit(float(idle_w), float(slope), f"Fitted: errors of at most {residual_w:.2f} W.")


def meter_power(meter: Meter) -> ReadPower:
    """Make a function that returns the meter's mean power in watts. It raises Failure."""

    def request_json(_: int, seconds: float) -> float:
        try:
            before, began = sum(meter.read_joules().values()), time.monotonic()
            time.sleep(seconds)
            return (sum(meter.read_joules().values()) - before) / (time.monotonic() - began)
        except MeterFailed as error:
            raise Failure(f"{meter.source}: {error}") from None

    return request_json


def typed_power(console: Console) -> ReadPower:
    """Make a function that asks a person for the watts of a wall plug. It raises Failure."""
    return partial(_prompt_power, console)


def _prompt_power(console: Console, load: int, seconds: float) -> float:
    time.sleep(min(seconds, 3.0))  # until the plug shows the load
    while True:
        try:
            text = console.input(f"{load} cores are busy. How many watts does the wall plug show? ")
        except EOFError:
            raise Failure(f"no watts were typed; {NO_TERMINAL}") from None
        try:
            power_w = float(text.replace(",", "."))
        except ValueError:
            power_w = math.nan
        if 0.0 <= power_w < math.inf:
            return power_w
        console.print(f"{text!r} is not a number of watts; type a number such as 23.5")


def _time_reading(meter: Meter) -> tuple[Sequence[str], float]:
    names = list(meter.read_joules())
    began = time.perf_counter()
    for _ in range(READS):
        meter.read_joules()
    return names, (time.perf_counter() - began) / READS * 1e6


def _spin(stop: Event) -> None:
    while not stop.is_set():
        sum(range(10_000))
