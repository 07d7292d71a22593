"""Trees as the kernel shows them under /sys, written by tests."""

from collections.abc import Mapping
from pathlib import Path

RANGE_UJ = 262_143_328_850


def write_rapl(root: Path, zones: Mapping[str, str], range_uj: int = RANGE_UJ) -> Path:
    """Zones as `{"intel-rapl:0": "package-0", "intel-rapl:0:0": "dram"}`, counting from 0; returns
    the folder of all.
    """
    folder = root / "class" / "powercap"
    for zone, name in zones.items():
        (folder / zone).mkdir(parents=True)
        (folder / zone / "name").write_text(f"{name}\n")
        (folder / zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
        set_uj(folder, zone, 0)
    return folder


def set_uj(folder: Path, zone: str, energy_uj: int) -> None:
    """As one write, so that a reader never sees half a number."""
    new = folder / zone / "energy_uj.new"
    new.write_text(f"{energy_uj}\n")
    new.replace(folder / zone / "energy_uj")


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
