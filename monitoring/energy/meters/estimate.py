"""Watts for the model without a meter, from published figures of this processor.

It looks up the thermal design power of the model name; else the processor's generation, which CPUID
reports even if a cloud provider hides the name; else the maker's newest generation in the table,
with the range of all. A logical CPU of a virtual machine counts as one thread of a core. The range
includes what is unknown: a cloud may give whole cores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from monitoring.energy.meters import published as of
from monitoring.energy.meters.busy import Quota
from monitoring.energy.meters.cpuinfo import Cpu, read_cpu
from monitoring.energy.meters.model import Watts
from monitoring.energy.meters.published import TDP_FULL, TDP_IDLE, Chip, Family, find_chip

# By display family and model of CPUID: Intel SDM volume 4, table 2-1, and AMD's revision guides.
_INTEL_6 = {
    **dict.fromkeys((42, 45), of.SANDY_BRIDGE),
    **dict.fromkeys((58, 62), of.IVY_BRIDGE),
    **dict.fromkeys((60, 63, 69, 70), of.HASWELL),
    **dict.fromkeys((61, 71, 79, 86), of.BROADWELL),
    **dict.fromkeys((78, 85, 94), of.SKYLAKE),
    **dict.fromkeys((142, 158, 165, 166), of.COFFEE_LAKE),
    **dict.fromkeys((106, 108), of.ICE_LAKE),
    143: of.SAPPHIRE_RAPIDS,
    207: of.EMERALD_RAPIDS,
    **dict.fromkeys((173, 174), of.GRANITE_RAPIDS),
}
_CASCADE_LAKE_STEPPING = 5  # of model 85, from here on
_NEOVERSE_PARTS = (0xD0C, 0xD40, 0xD49, 0xD4F)  # N1, V1, N2, V2
_ARM, _AMPERE, _APPLE = "0x41", "0xc0", "0x61"


class Estimate(NamedTuple):
    """Watts of the CPUs that this process may use, with their range and basis."""

    watts: Watts
    cpus: float
    full_w: float  # with all these CPUs busy
    low_w: float  # the lowest and
    high_w: float  # the highest `full_w` that the basis allows
    basis: str

    def describe(self) -> str:
        """Return one line for the log: the watts, their range and their basis."""
        noun = "CPU" if self.cpus == 1 else "CPUs"
        full = (
            f"{self.watts.idle_w:.2g} W idle to {self.full_w:.3g} W with {self.cpus:g} {noun} busy"
        )
        spread = f" ({self.low_w:.3g} to {self.high_w:.3g} W)" if self.low_w < self.high_w else ""
        return f"{full}{spread}, from {self.basis}"


def estimate(proc: Path = Path("/proc"), quota: Quota | None = None) -> Estimate:
    """Estimate the watts of this machine. Raises MeterFailed if /proc/cpuinfo cannot be read."""
    return estimate_cpu(read_cpu(proc), quota)


def estimate_cpu(cpu: Cpu, quota: Quota | None = None) -> Estimate:
    cpus = min(quota.cpus, cpu.cpus) if quota else float(cpu.cpus)
    chip = find_chip(cpu.name)
    return _by_chip(chip, cpu, cpus) if chip else _by_family(cpu, cpus)


def find_family(cpu: Cpu) -> Family | None:
    """Find a processor's generation from its numbers; None if they are unknown."""
    if cpu.vendor == "GenuineIntel" and cpu.family == 6 and cpu.model is not None:
        if cpu.model == 85 and (cpu.stepping or 0) >= _CASCADE_LAKE_STEPPING:
            return of.CASCADE_LAKE
        return _INTEL_6.get(cpu.model)
    if cpu.vendor == "AuthenticAMD" and cpu.model is not None:
        return _find_amd(cpu.family, cpu.model)
    if cpu.vendor == _APPLE:
        return of.APPLE
    is_neoverse = cpu.vendor == _ARM and cpu.model in _NEOVERSE_PARTS
    return of.NEOVERSE if is_neoverse or cpu.vendor == _AMPERE else None


def _find_amd(family: int | None, model: int) -> Family | None:
    if family == 23:
        return of.EPYC_2 if model >= 48 else of.EPYC_1
    if family == 25:
        return of.EPYC_4 if 16 <= model < 32 or model >= 96 else of.EPYC_3
    return of.EPYC_4 if family == 26 else None  # the 5th generation has no figures


def _by_chip(chip: Chip, cpu: Cpu, cpus: float) -> Estimate:
    a_cpu_w = chip.tdp_w / (chip.cores if _has_whole_cores(cpu) else chip.threads)
    basis = (
        f"the thermal design power of {chip.name}, {chip.tdp_w:g} W for {chip.cores} cores and "
        f"{chip.threads} threads ({chip.source})"
    )
    at_most_w = chip.tdp_w / chip.cores if _may_have_whole_cores(cpu) else a_cpu_w
    return _make(cpus, (TDP_IDLE * a_cpu_w, TDP_FULL * a_cpu_w), TDP_FULL * at_most_w, basis)


def _by_family(cpu: Cpu, cpus: float) -> Estimate:
    family = find_family(cpu)
    alike = [family] if family else _list_similar(cpu.vendor)
    chosen = family or alike[-1]
    times = chosen.threads_a_core if _has_whole_cores(cpu) else 1
    most = chosen.threads_a_core if _may_have_whole_cores(cpu) else 1
    known = chosen.name if family else f"{chosen.name}, as the generation is unknown"
    basis = (
        f"published means of {known}: {chosen.idle_w:g} to {chosen.full_w:g} W a logical CPU "
        f"({chosen.source})"
    )
    highest_w = max(one.full_w for one in alike) * most
    lowest_w = min(one.full_w for one in alike) * times
    return _make(cpus, (chosen.idle_w * times, chosen.full_w * times), highest_w, basis, lowest_w)


def _list_similar(vendor: str) -> Sequence[Family]:
    """List the maker's generations, the newest last; else all, with a typical one last."""
    maker = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}.get(vendor, "")
    found = [family for family in of.FAMILIES if maker and family.name.startswith(maker)]
    return found or (*of.FAMILIES, of.SAPPHIRE_RAPIDS)


def _make(
    cpus: float, a_cpu_w: tuple[float, float], most_w: float, basis: str, least_w: float = 0.0
) -> Estimate:
    idle_w, full_w = a_cpu_w
    watts = Watts(idle_w * cpus, full_w - idle_w)
    least_w = least_w or full_w
    return Estimate(watts, cpus, full_w * cpus, least_w * cpus, most_w * cpus, basis)


def _has_whole_cores(cpu: Cpu) -> bool:
    """Whether simultaneous multithreading is off, which the kernel shows on real hardware."""
    return cpu.threads_a_core == 1 and not cpu.is_virtual


def _may_have_whole_cores(cpu: Cpu) -> bool:
    return cpu.threads_a_core != 2
