"""A board's sensor as the kernel shows it under /sys, written by tests."""

from collections.abc import Mapping
from pathlib import Path


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
