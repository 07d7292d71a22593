"""Opens the energy meters that the settings name and records their readings in the ledger.

If no meter can be read, a model estimates the power from the watts in the settings, or else from
figures published for this processor. Replies, metrics and one line of the log mark estimates as
such. The source `none` counts nothing. Replies carry their joules even if metrics are off.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from monitoring.energy.ledger import ACCOUNTS
from monitoring.energy.meter_reader import CpuTimes, Sampler
from monitoring.energy.meters.busy import BusyTime, Quota, find_quota, read_busy_s
from monitoring.energy.meters.estimate import estimate
from monitoring.energy.meters.finding import AUTOMATIC_SOURCES, METER_FACTORIES
from monitoring.energy.meters.late import DeferredMeter
from monitoring.energy.meters.meter import Meter, MeterDenied, MeterFailed
from monitoring.energy.meters.model import ModelMeter, Watts
from monitoring.energy.meters.replay import ReplayMeter
from monitoring.metrics.collector import Metrics
from monitoring.metrics.labelled import Labelled
from monitoring.metrics.switched_off import NoMetrics
from serving.settings import EnergySettings

_log = logging.getLogger("sparing.energy")
_PROC = Path("/proc")
JOULES_PER_KWH = 3.6e6
OWN_ACCOUNTS = ("rows", "overhead")
# Meters of a machine's processor. The model can replace these without watts from the settings.
_OF_A_PROCESSOR = ("auto", "model", "rapl", "ina3221", "pmic")

Meters = list[tuple[Meter, float | None]]  # each with its idle watts, if known


def open_sampler(
    settings: EnergySettings,
    metrics: Metrics | NoMetrics,
    device_s: Callable[[], float],
    worker: int = 0,  # number among several, the first of which accounts for the machine; 0: alone
    proc: Path = _PROC,
) -> Sampler | None:
    """Return a sampler, or None if there is nothing to read. Raises ValueError, with one sentence,
    if a source that the settings name cannot be opened.
    """
    if settings.source == "none":
        return None
    measured = _open_measured(settings)
    # Meters and the settings' watts cover the whole machine; other estimates cover this container.
    whole = bool(measured or settings.model.busy_core_w)
    quota = None if whole else find_quota(proc, settings.sysfs)
    try:
        busy = BusyTime(
            quota.read_busy_s if quota else partial(read_busy_s, proc / "stat"), time.process_time
        )
    except MeterFailed as error:
        _log.warning("energy is not counted: %s", error)
        return None
    meters = [*measured, *_open_model(settings, proc, quota, busy)]
    if not meters:
        return None
    sampler = Sampler(
        meters,
        partial(read_cpu, busy, device_s, find_siblings if worker else list),
        metrics.device_s_by_exit,
        metrics.energy,
        accounts=ACCOUNTS if worker <= 1 else OWN_ACCOUNTS,
    )
    metrics.add_reader(lambda: _count(sampler, metrics.device_s_by_exit, settings))
    return sampler


def read_cpu(
    busy: BusyTime, device_s: Callable[[], float], siblings: Callable[[], list[int]] = list
) -> CpuTimes:
    """Return the core-seconds used so far; `siblings` lists the ids of processes that serve with
    this one.
    """
    beside_s = sum(map(read_process_s, siblings()))
    return CpuTimes(busy.read_s(), time.process_time(), device_s(), beside_s)


def find_siblings() -> list[int]:
    """Return the process ids of the supervisor's other workers."""
    parent, own = os.getppid(), os.getpid()
    try:
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:  # the supervisor has ended, or the kernel has no such list
        return []
    return [pid for pid in map(int, found) if pid != own]


def read_process_s(pid: int) -> float:
    """Return the CPU seconds of a process; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _open_measured(settings: EnergySettings) -> Meters:
    """Open the meter that the settings name, or the first that can be read."""
    idle_w = settings.idle_w or None
    if settings.source == "replay":
        return [(_open("replay", partial(ReplayMeter, Path(settings.replay))), idle_w)]
    if (make := METER_FACTORIES.get(settings.source)) is not None:
        return [(_open(settings.source, partial(make, settings.sysfs)), idle_w)]
    if settings.source == "auto":
        return [(meter, idle_w) for meter in _find_first(settings.sysfs)]
    return []


def _open_model(
    settings: EnergySettings, proc: Path, quota: Quota | None, busy: BusyTime
) -> Meters:
    """Open the model that is used if a meter fails or none exists."""
    given = settings.model
    if given.busy_core_w:
        watts, basis = Watts(given.idle_w, given.busy_core_w, given.dram_w), "the settings' watts"
    elif settings.source not in _OF_A_PROCESSOR:
        return []
    else:
        try:
            found = estimate(proc, quota)
        except MeterFailed as error:
            _log.warning("the energy model has no watts: %s", error)
            return []
        basis = found.describe()
        watts = Watts(given.idle_w or found.watts.idle_w, found.watts.busy_core_w, given.dram_w)
    return [(ModelMeter(watts, busy.read_s, basis=basis), watts.idle_w + watts.dram_w)]


def _open(source: str, make: Callable[[], Meter]) -> Meter:
    try:
        return make()
    except MeterFailed as error:
        raise ValueError(f"energy.source: {source}: {error}") from None


def _find_first(sysfs: Path) -> list[Meter]:
    for source in AUTOMATIC_SOURCES:
        make = partial(METER_FACTORIES[source], sysfs)
        try:
            return [make()]
        except MeterDenied as error:
            _log.warning("found the meter %s: %s", source, error)
            return [DeferredMeter(source, make)]
        except MeterFailed as error:
            _log.debug("no meter %s: %s", source, error)
    return []


def _count(
    sampler: Sampler, spent: Callable[[], Mapping[tuple[str, str], float]], settings: EnergySettings
) -> Labelled:
    counts = sampler.counts()
    if not settings.carbon_grams_per_kwh and not settings.embodied_grams_per_hour:
        return counts
    return {
        **counts,
        "carbon_grams": carbon_grams(counts, spent(), sampler.free_s, settings),
        "carbon_intensity_grams_per_kwh": {(): settings.carbon_grams_per_kwh},
    }


def carbon_grams(
    counts: Labelled,
    device_s_by_exit: Mapping[tuple[str, str], float],
    free_s: float,
    settings: EnergySettings,
) -> dict[tuple[str, ...], float]:
    """Return grams of CO2 equivalent by route; idle time and overhead have no route.

    Energy times carbon intensity, plus the hardware's embodied emissions by time (ISO/IEC
    21031:2024, E * I + M). `spent_s`: device seconds by route and exit; `free_s`: core-seconds in
    which the machine computed no rows. Other processes on the machine are not charged here.
    """
    grams: dict[tuple[str, ...], float] = {("",): 0.0}
    per_joule = settings.carbon_grams_per_kwh / JOULES_PER_KWH
    per_core_s = settings.embodied_grams_per_hour / 3600 / (os.cpu_count() or 1)
    for (route, _exit, _source), joules in counts["energy_joules"].items():
        grams[route,] = grams.get((route,), 0.0) + joules * per_joule
    for (account, _source), joules in counts["energy_account_joules"].items():
        if account in ("overhead", "idle"):
            grams["",] += joules * per_joule
    for (route, _exit), device_s in device_s_by_exit.items():
        grams[route,] = grams.get((route,), 0.0) + device_s * per_core_s
    grams["",] += free_s * per_core_s
    return grams
