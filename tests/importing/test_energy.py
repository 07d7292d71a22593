"""Joules of an import come from a meter, or are marked as an estimate."""

from pathlib import Path

import pytest

from importing.energy import find_energy

INTEL = """processor : 0
vendor_id : GenuineIntel
cpu family : 6
model : 143
model name : Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
stepping : 8
siblings : 2
cpu cores : 1
flags : hypervisor
"""


def test_a_meter_is_read(tmp_path: Path) -> None:
    zone = tmp_path / "class" / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "10000000000")):
        (zone / name).write_text(text)
    (zone / "energy_uj").write_text("1000000")
    energy = find_energy(tmp_path, tmp_path)
    assert energy.name == "rapl"
    assert energy.read_j is not None
    before_j = energy.read_j()
    (zone / "energy_uj").write_text("3500000")
    assert energy.read_j() - before_j == pytest.approx(2.5)


def test_without_a_meter_joules_follow_cpu_time_and_say_so(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(INTEL)
    energy = find_energy(tmp_path, tmp_path)
    assert (energy.name, energy.read_j) == ("model", None)
    assert energy.basis.startswith("not measured: CPU time at ")
    assert energy.estimate_mj(2000) == pytest.approx(2 * energy.busy_core_w)


def test_without_any_figure_there_are_no_joules(tmp_path: Path) -> None:
    energy = find_energy(tmp_path, tmp_path)
    assert energy.estimate_mj(2000) is None
    assert energy.basis.startswith("unknown")
