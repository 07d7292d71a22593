"""`sparing meter`: what can tell joules here; and the loads that fit the model's watts."""

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
NO_TERMINAL = "give --idle-watts and --busy-watts of the plug, or --by table"
ReadPower = Callable[[int, float], float]  # busy cores, seconds -> mean watts


@dataclass(frozen=True, slots=True)
class Point:
    """One load: how many cores were busy on average, and the power that was seen."""

    busy_cores: float
    power_w: float


@dataclass(frozen=True, slots=True)
class Fit:
    """power = idle_w + busy_core_w * busy cores, by least squares."""

    idle_w: float
    busy_core_w: float
    note: str  # how good it is, or what it assumes

    def as_toml(self) -> str:
        return (
            f"# {self.note}\n[energy.model]\n"
            f"idle_w = {self.idle_w:.2f}\nbusy_core_w = {self.busy_core_w:.2f}\ndram_w = 0.0\n"
        )


def show_meters(sysfs: Path, console: Console) -> None:
    """A table of all kinds: what each reads, or why it cannot, and what a reading costs."""
    table = Table("meter", "components", "a reading costs", "why not", box=None, pad_edge=False)
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
    table.add_row("model", "cpu, dram", "", "an estimate, not a measurement: see below")
    console.print(table)
    console.print(
        f"\nThe model's watts: {describe_model()}", markup=False, highlight=False, soft_wrap=True
    )


def describe_model() -> str:
    """What stands in where no meter can be read, and on what basis."""
    try:
        found = estimate(quota=find_quota(Path("/proc"), Path("/sys")))
    except MeterFailed as error:
        return f"no estimate, {error}; set [energy.model]"
    return (
        f"unless [energy.model] is set, {found.describe()}. "
        "`sparing meter calibrate` fits it to this machine."
    )


def run_loads(ask: ReadPower, seconds: float, console: Console) -> Fit:
    """Keep 0, 1, half and all cores busy, `seconds` each, and fit what power is told."""
    cores = os.cpu_count() or 1
    loads = sorted({0, 1, cores // 2, cores})
    return fit([measure(load, ask, seconds) for load in track(loads, "loads", console=console)])


def measure(load: int, ask: ReadPower, seconds: float) -> Point:
    """With so many cores busy, the power that is told, and how busy the machine really was."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    busy = [context.Process(target=_spin, args=(stop,), daemon=True) for _ in range(load)]
    for process in busy:
        process.start()
    try:
        time.sleep(START_S if load else 0.0)
        began_s, began = read_busy_s(STAT), time.monotonic()
        power_w = ask(load, seconds)
        passed_s = max(time.monotonic() - began, 1e-3)
        return Point((read_busy_s(STAT) - began_s) / passed_s, power_w)
    finally:
        stop.set()
        for process in busy:
            process.join(5)
            process.kill()


def fit(points: Sequence[Point]) -> Fit:
    """Raises Failure where the loads do not differ, or more work takes less power."""
    cores = np.array([point.busy_cores for point in points])
    powers = np.array([point.power_w for point in points])
    if len(points) < 2 or np.ptp(cores) < 0.4:
        raise Failure("the loads did not differ: the machine is too busy to be calibrated")
    slope, idle_w = np.polyfit(cores, powers, 1)
    if slope < 0 or idle_w < 0:
        raise Failure(
            f"{idle_w:.2f} W idle and {slope:.2f} W a busy core fit best, which cannot be; was "
            "the machine busy with something else?"
        )
    residual_w = float(np.abs(powers - (idle_w + slope * cores)).max())
    return Fit(float(idle_w), float(slope), f"Fitted: at most {residual_w:.2f} W beside the line.")


def meter_power(meter: Meter) -> ReadPower:
    """The mean power that a real meter saw."""

    def ask(_: int, seconds: float) -> float:
        try:
            before, began = sum(meter.read_joules().values()), time.monotonic()
            time.sleep(seconds)
            return (sum(meter.read_joules().values()) - before) / (time.monotonic() - began)
        except MeterFailed as error:
            raise Failure(f"{meter.source}: {error}") from None

    return ask


def typed_power(console: Console) -> ReadPower:
    """The power that a person reads off a wall plug."""
    return partial(_prompt_power, console)


def _prompt_power(console: Console, load: int, seconds: float) -> float:
    time.sleep(min(seconds, 3.0))  # until the plug has seen it
    while True:
        try:
            text = console.input(f"{load} cores are busy. What does the plug show, in watts? ")
        except EOFError:
            raise Failure(f"no watts were typed in; {NO_TERMINAL}") from None
        try:
            power_w = float(text.replace(",", "."))
        except ValueError:
            power_w = math.nan
        if 0.0 <= power_w < math.inf:
            return power_w
        console.print(f"{text!r} is no power; give a number such as 23.5")


def _time_reading(meter: Meter) -> tuple[Sequence[str], float]:
    names = list(meter.read_joules())
    began = time.perf_counter()
    for _ in range(READS):
        meter.read_joules()
    return names, (time.perf_counter() - began) / READS * 1e6


def _spin(stop: Event) -> None:
    while not stop.is_set():
        sum(range(10_000))
