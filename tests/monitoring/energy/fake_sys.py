"""What the kernel shows of sensors under /sys and of processors under /proc, written by tests."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType


def write_ina3221(root: Path, rails: Mapping[str, tuple[int, int]]) -> Path:
    """One sensor; millivolts and milliamperes by rail. Returns its folder."""
    folder = root / "class" / "hwmon" / "hwmon3"
    folder.mkdir(parents=True)
    (folder / "name").write_text("ina3221\n")
    for number, (label, (millivolts, milliamperes)) in enumerate(rails.items(), 1):
        (folder / f"in{number}_label").write_text(f"{label}\n")
        (folder / f"in{number}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{number}_input").write_text(f"{milliamperes}\n")
    return folder


def write_proc(
    root: Path,
    *,
    name: str = "AMD EPYC",
    vendor_id: str = "AuthenticAMD",
    cpus: int = 2,
    cores: int = 0,  # as many as CPUs
    fields: Mapping[str, object] = MappingProxyType({}),
) -> Path:
    """A virtual machine's /proc, by default one that only says "AMD EPYC". Returns its folder."""
    folder = root / "proc"
    folder.mkdir()
    told = {
        "vendor_id": vendor_id, "cpu family": 25, "model": 1,
        "model name": name, "stepping": 1, "siblings": cpus,
        "cpu cores": cores or cpus, "flags": "fpu hypervisor", **fields,
    }  # fmt: skip
    lines = "".join(f"{name}\t: {value}\n" for name, value in told.items())
    (folder / "cpuinfo").write_text(
        "\n".join(f"processor\t: {number}\n{lines}" for number in range(cpus))
    )
    (folder / "stat").write_text("cpu  100 0 100 9000 50 0 0 77 0 0\ncpu0 1 1\n")
    return folder
