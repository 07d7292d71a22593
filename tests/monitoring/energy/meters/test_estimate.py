"""Watts by what a processor says of itself: known names, hidden ones, and none at all."""

from pathlib import Path

import pytest

from monitoring.energy.meters.busy import BusyTime, Quota, find_quota
from monitoring.energy.meters.cpuinfo import clean_name, read_cpu
from monitoring.energy.meters.estimate import estimate, find_family
from monitoring.energy.meters.meter import MeterFailed
from monitoring.energy.meters.published import FAMILIES, find_chip, list_chips
from tests.monitoring.energy.fake_sys import write_proc

GRAVITON = (
    "processor\t: 0\nFeatures\t: fp\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n\n"
    "processor\t: 1\nFeatures\t: fp\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"
)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", "Xeon Gold 6248"),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "Xeon E5-2680 v4"),
        ("INTEL(R) XEON(R) PLATINUM 8592+", "Xeon Platinum 8592+"),
        ("Intel(R) Xeon(R) 6980P", "Xeon 6980P"),
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", "Core i7-8700K"),
        ("AMD EPYC 7763 64-Core Processor", "EPYC 7763"),
        ("AMD Ryzen 9 5950X 16-Core Processor", "Ryzen 9 5950X"),
    ],
)
def test_the_names_that_kernels_print_are_found(told: str, name: str) -> None:
    chip = find_chip(clean_name(told))
    assert chip is not None and chip.name == name


def test_every_published_figure_has_its_source_and_can_be() -> None:
    chips = list(list_chips())
    assert len({chip.name for chip in chips}) == len(chips)
    for chip in chips:
        assert chip.source.startswith(("https://www.intel.com/", "https://www.amd.com/"))
        assert chip.cores <= chip.threads <= 2 * chip.cores and 1 <= chip.tdp_w / chip.cores <= 40
    for family in FAMILIES:
        assert family.source.startswith("https://") and 0 < family.idle_w < family.full_w < 10


def test_a_known_name_is_its_design_power_by_threads(tmp_path: Path) -> None:
    found = estimate(write_proc(tmp_path, name="AMD EPYC 7763 64-Core Processor", cpus=4))
    assert found.watts.idle_w == pytest.approx(0.12 * 4 * 280 / 128)
    assert found.full_w == pytest.approx(1.02 * 4 * 280 / 128)
    assert found.full_w == pytest.approx(found.watts.idle_w + 4 * found.watts.busy_core_w)
    assert found.high_w == pytest.approx(2 * found.full_w)  # if the cloud gives whole cores
    assert "280 W" in found.describe() and "amd.com" in found.describe()


def test_threads_that_are_seen_are_threads_and_real_cores_are_cores(tmp_path: Path) -> None:
    name = "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz"
    threads = estimate(write_proc(tmp_path, name=name, cpus=40, cores=20))
    assert threads.full_w == threads.high_w == pytest.approx(1.02 * 150)
    (tmp_path / "own").mkdir()
    cores = estimate(write_proc(tmp_path / "own", name=name, cpus=20, fields={"flags": "fpu"}))
    assert cores.full_w == cores.high_w == pytest.approx(1.02 * 150)


@pytest.mark.parametrize(
    ("numbers", "family"),
    [
        (("GenuineIntel", 6, 85, 4), "Intel Skylake"),
        (("GenuineIntel", 6, 85, 7), "Intel Cascade Lake"),
        (("GenuineIntel", 6, 106, 6), "Intel Ice Lake"),
        (("GenuineIntel", 6, 143, 8), "Intel Sapphire Rapids"),
        (("GenuineIntel", 6, 207, 2), "Intel Emerald Rapids"),
        (("GenuineIntel", 6, 79, 1), "Intel Broadwell"),
        (("AuthenticAMD", 23, 1, 2), "AMD EPYC, 1st generation"),
        (("AuthenticAMD", 23, 49, 0), "AMD EPYC, 2nd generation"),
        (("AuthenticAMD", 25, 1, 1), "AMD EPYC, 3rd generation"),
        (("AuthenticAMD", 25, 17, 1), "AMD EPYC, 4th generation"),
        (("AuthenticAMD", 26, 2, 1), "AMD EPYC, 4th generation"),
    ],
)
def test_a_hidden_name_is_told_by_its_numbers(
    numbers: tuple[str, int, int, int], family: str, tmp_path: Path
) -> None:
    vendor, *others = numbers
    told = dict(zip(("cpu family", "model", "stepping"), others, strict=True))
    proc = write_proc(tmp_path, name="Intel(R) Xeon(R) Processor", vendor_id=vendor, fields=told)
    found = find_family(read_cpu(proc))
    assert found is not None and found.name == family
    assert family in estimate(proc).describe()


def test_arm_has_parts_instead_of_names(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(GRAVITON)
    found = estimate(tmp_path)
    assert (found.cpus, found.full_w, found.high_w) == (2, 2 * 1.69, 2 * 1.69)
    assert "Graviton" in found.basis


@pytest.mark.parametrize("vendor", ["GenuineIntel", "AuthenticAMD", "NobodysChips"])
def test_numbers_that_say_nothing_give_the_range_of_their_maker_or_of_all(
    vendor: str, tmp_path: Path
) -> None:
    found = estimate(
        write_proc(tmp_path, vendor_id=vendor, fields={"cpu family": 15, "model": 107})
    )
    assert 0 < found.low_w < found.high_w and "as the generation is unknown" in found.basis


def test_what_the_kernel_does_not_tell_is_a_failure_or_left_out(tmp_path: Path) -> None:
    with pytest.raises(MeterFailed, match="cpuinfo"):
        estimate(tmp_path)
    (tmp_path / "cpuinfo").write_text("processor : 0\n")
    assert estimate(tmp_path).cpus == 1


def test_a_quota_takes_its_share_of_the_machine(tmp_path: Path) -> None:
    proc = write_proc(tmp_path, cpus=8)
    whole, part = estimate(proc), estimate(proc, Quota(2.0, float))
    assert part.watts.idle_w == pytest.approx(whole.watts.idle_w / 4)
    assert part.watts.busy_core_w == whole.watts.busy_core_w


def test_the_tightest_quota_of_either_version_is_found(tmp_path: Path) -> None:
    proc, root = tmp_path / "proc", tmp_path / "sys" / "fs" / "cgroup"
    (proc / "self").mkdir(parents=True)
    assert find_quota(proc, tmp_path / "sys") is None
    (proc / "self" / "cgroup").write_text("2:cpu,cpuacct:/docker/1\n0::/pod/box\n")
    (root / "pod" / "box").mkdir(parents=True)
    (root / "pod" / "box" / "cpu.max").write_text("max 100000\n")
    assert find_quota(proc, tmp_path / "sys") is None
    (root / "pod" / "cpu.max").write_text("250000 100000\n")
    (root / "pod" / "cpu.stat").write_text("nr_periods 3\nusage_usec 7000000\n")
    found = find_quota(proc, tmp_path / "sys")
    assert found is not None and (found.cpus, found.read_busy_s()) == (2.5, 7.0)
    old = root / "cpu,cpuacct"  # version 1, whose root is the container's own group
    old.mkdir()
    for name, value in {"cfs_quota_us": 50000, "cfs_period_us": 100000}.items():
        (old / f"cpu.{name}").write_text(f"{value}\n")
    (old / "cpuacct.usage").write_text("3000000000\n")
    found = find_quota(proc, tmp_path / "sys")
    assert found is not None and (found.cpus, found.read_busy_s()) == (0.5, 3.0)


def test_time_of_the_machine_is_never_less_than_that_of_a_process_and_never_counted_twice() -> None:
    machine_s, own_s = 50.0, 2.0
    busy = BusyTime(lambda: machine_s, lambda: own_s)
    own_s += 0.004
    assert busy.read_s() == pytest.approx(0.004)  # the machine's tick is yet to come
    machine_s += 0.01
    assert busy.read_s() == pytest.approx(0.01)  # it has come: 4 ms of it are ours already
    machine_s += 1.0
    assert busy.read_s() == pytest.approx(1.01)
