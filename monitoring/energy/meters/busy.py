"""CPU time of the machine, or of the container with a CPU quota that this process runs in.

The kernel counts the machine's time in ticks of 10 ms, which may arrive after the exact time of one
process. `BusyTime` combines both, so that the machine's time is never less than the process'.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from monitoring.energy.meters.meter import MeterFailed
from monitoring.energy.meters.sysfs import read_number, read_text

MAX_DEBT_S = 0.1  # largest lag of the ticks, which come every 10 ms on each core
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Quota(NamedTuple):
    """A container's share of the machine's CPUs."""

    cpus: float
    read_busy_s: Callable[[], float]  # core-seconds of all its processes


class BusyTime:
    """Core-seconds since the start. Both readers may start at any value and only grow."""

    def __init__(self, read_busy_s: Callable[[], float], read_own_s: Callable[[], float]) -> None:
        self._read_busy_s = read_busy_s
        self._read_own_s = read_own_s
        self._busy_s, self._own_s = read_busy_s(), read_own_s()
        self._debt_s = 0.0
        self._total_s = 0.0

    def read_s(self) -> float:
        """Raises MeterFailed."""
        busy_s, own_s = self._read_busy_s(), self._read_own_s()
        step_s = own_s - self._own_s
        over_s = busy_s - self._busy_s - step_s + self._debt_s
        self._debt_s = max(-MAX_DEBT_S, min(0.0, over_s))
        self._total_s += step_s + max(0.0, over_s)
        self._busy_s, self._own_s = busy_s, own_s
        return self._total_s


def read_busy_s(stat: Path) -> float:
    """Read the busy core-seconds of all cores since boot, without waiting for disks.

    Raises MeterFailed.
    """
    first, *fields = read_text(stat).splitlines()[0].split()
    if first != "cpu" or len(fields) < 8:
        raise MeterFailed(f"{stat} does not begin with the cpu line")
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    del steal  # used by other virtual machines on the same hardware
    return (user + nice + system + irq + softirq) / _TICKS_PER_S


def find_quota(proc: Path, sysfs: Path) -> Quota | None:
    """Find the smallest quota of this process' control groups, version 1 or 2; None without one.

    https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    quotas = []
    for folder in _find_groups(proc, sysfs / "fs" / "cgroup"):
        try:
            quotas.append(_read_quota(folder))
        except (MeterFailed, ValueError):  # another controller, or no limit
            continue
    return min((quota for quota in quotas if quota), key=lambda quota: quota.cpus, default=None)


def _find_groups(proc: Path, root: Path) -> Iterator[Path]:
    """Yield the folders of this process' control groups and of their parents."""
    try:
        lines = read_text(proc / "self" / "cgroup").splitlines()
    except MeterFailed:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and "cpu" not in names.split(","):
            continue
        for mount in {root / names, root / "cpu"} if names else {root, root / "unified"}:
            group = mount / path.strip("/")
            yield from (one for one in (group, *group.parents) if one.is_relative_to(mount))


def _read_quota(folder: Path) -> Quota | None:
    if (folder / "cpu.max").exists():
        limit, period = read_text(folder / "cpu.max").split()
        if limit == "max":
            return None
        return Quota(int(limit) / int(period), lambda: _read_usage_s(folder / "cpu.stat"))
    limit_us = read_number(folder / "cpu.cfs_quota_us")
    usage = folder / "cpuacct.usage"  # next to it where both controllers are mounted together
    if limit_us <= 0 or not usage.exists():
        return None
    cpus = limit_us / read_number(folder / "cpu.cfs_period_us")
    return Quota(cpus, lambda: read_number(usage) / 1e9)


def _read_usage_s(stat: Path) -> float:
    for line in read_text(stat).splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            return int(value) / 1e6
    raise MeterFailed(f"{stat} has no usage_usec")
