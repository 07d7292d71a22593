"""RAPL on trees written here: what counts, wrapping around, what may not be read, what vanishes."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.services.fake_rapl import set_uj, write_rapl
from monitoring.energy.meters.meter import MeterFailed
from monitoring.energy.meters.rapl import RaplMeter
from tests.fakes.clock import Clock

NOBODY = 65534


def test_packages_and_their_dram_count_from_when_the_meter_was_made(tmp_path: Path) -> None:
    folder = write_rapl(
        tmp_path,
        {
            "intel-rapl:0": "package-0",
            "intel-rapl:0:0": "core",
            "intel-rapl:0:1": "dram",
            "intel-rapl:1": "package-1",
            "intel-rapl:2": "psys",
        },
    )
    set_uj(folder, "intel-rapl:0", 5_000_000)
    meter = RaplMeter(tmp_path)
    for zone in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:1"):
        set_uj(folder, zone, 7_500_000)
    assert meter.read_joules() == {"package-0": 2.5, "package-0 dram": 7.5, "package-1": 7.5}


def test_a_counter_that_starts_again_goes_on(tmp_path: Path) -> None:
    folder = write_rapl(tmp_path, {"intel-rapl:0": "package-0"}, range_uj=9_999_999)
    set_uj(folder, "intel-rapl:0", 9_000_000)
    meter = RaplMeter(tmp_path, clock := Clock())
    for energy_uj, joules in ((9_500_000, 0.5), (500_000, 1.5), (400_000, 11.4)):
        set_uj(folder, "intel-rapl:0", energy_uj)
        clock.now_s += 0.1
        assert meter.read_joules()["package-0"] == pytest.approx(joules)


def test_a_counter_that_begins_anew_has_not_wrapped_around(tmp_path: Path) -> None:
    folder = write_rapl(tmp_path, {"intel-rapl:0": "package-0"}, range_uj=262_143_328_850)
    set_uj(folder, "intel-rapl:0", 5_000_000_000)
    meter = RaplMeter(tmp_path, clock := Clock())
    set_uj(folder, "intel-rapl:0", 1_000_000)  # after a suspend, say
    clock.now_s += 0.1
    assert meter.read_joules()["package-0"] == pytest.approx(1.0)


def test_a_zone_that_vanishes_is_a_failure_that_names_it(tmp_path: Path) -> None:
    folder = write_rapl(tmp_path, {"intel-rapl:0": "package-0"})
    meter = RaplMeter(tmp_path)
    shutil.rmtree(folder / "intel-rapl:0")
    with pytest.raises(MeterFailed, match="intel-rapl:0/energy_uj: No such file"):
        meter.read_joules()


@pytest.mark.parametrize("text", ["", "many", "1.5"])
def test_what_is_no_number_is_a_failure(tmp_path: Path, text: str) -> None:
    folder = write_rapl(tmp_path, {"intel-rapl:0": "package-0"})
    meter = RaplMeter(tmp_path)
    (folder / "intel-rapl:0" / "energy_uj").write_text(text)
    with pytest.raises(MeterFailed, match="not a number"):
        meter.read_joules()


def test_a_machine_without_counters_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(MeterFailed, match="no energy counters"):
        RaplMeter(tmp_path)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Files of root are closed to this user, as they are not to root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_counter_for_root_alone_says_how_to_grant_it() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        folder = write_rapl(root, {"intel-rapl:0": "package-0"})
        (folder / "intel-rapl:0" / "energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)
        with as_nobody(), pytest.raises(MeterFailed, match="sudo chmod a\\+r"):
            RaplMeter(root)
