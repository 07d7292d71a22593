"""Identifies the processor from /proc/cpuinfo, which virtual machines also have."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from monitoring.energy.meters.sysfs import read_text

# Parts around a model's name: trademarks, clock rate, number of cores, graphics.
_NOISE = re.compile(
    r"\((R|TM)\)|\bCPU\b|\b\d+(st|nd|rd|th) Gen\b|\b\w+-Cores?\b|\bProcessor\b|@.*|\b(with|w/) .*",
    re.IGNORECASE,
)


class Cpu(NamedTuple):
    """A processor. Numbers are None if the kernel does not report them."""

    name: str  # as in the maker's lists, without the maker: "Xeon Gold 6248"
    vendor: str  # "GenuineIntel", "AuthenticAMD", or an ARM implementer such as "0x41"
    family: int | None
    model: int | None  # the part number on ARM, which has no family
    stepping: int | None
    cpus: int  # that the operating system runs on
    threads_a_core: int | None  # as the operating system sees them
    is_virtual: bool


def read_cpu(proc: Path) -> Cpu:
    """Read the processor. Raises MeterFailed without /proc/cpuinfo."""
    text = read_text(proc / "cpuinfo")
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    siblings, cores = _number(fields, "siblings"), _number(fields, "cpu cores")
    return Cpu(
        name=clean_name(fields.get("model name", "")),
        vendor=fields.get("vendor_id", fields.get("CPU implementer", "")),
        family=_number(fields, "cpu family"),
        model=_number(fields, "model") if "model" in fields else _number(fields, "CPU part"),
        stepping=_number(fields, "stepping"),
        cpus=len(re.findall(r"^processor\s*:", text, re.MULTILINE)) or os.cpu_count() or 1,
        threads_a_core=2 if siblings and cores and siblings > cores else 1 if cores else None,
        is_virtual="hypervisor" in fields.get("flags", "").split(),
    )


def clean_name(name: str) -> str:
    """ "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz" is "Xeon Gold 6248"."""
    words = _NOISE.sub(" ", name).split()
    return " ".join(words[1:] if words and words[0].lower() in ("intel", "amd") else words)


def _number(fields: dict[str, str], name: str) -> int | None:
    try:
        return int(fields.get(name, ""), 0)
    except ValueError:
        return None
