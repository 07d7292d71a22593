"""The other meters: known steps in, exact joules out; and what each says when it cannot."""

from functools import partial
from pathlib import Path

import pytest

from harness.services.fake_rapl import write_rapl
from monitoring.energy.meters.busy import read_busy_s
from monitoring.energy.meters.finding import find_meters
from monitoring.energy.meters.ina3221 import Ina3221Meter
from monitoring.energy.meters.meter import MeterFailed
from monitoring.energy.meters.model import ModelMeter, Watts
from monitoring.energy.meters.nvml import NvmlMeter
from monitoring.energy.meters.pmic import MAX_READING_AGE_S, PmicMeter, parse_watts
from monitoring.energy.meters.replay import ReplayMeter
from tests.fakes.clock import Clock
from tests.monitoring.energy.fake_sys import write_ina3221

PMIC = """ 3V7_WL_SW_A current(0)=0.10000000A
   VDD_CORE_A current(7)=2.00000000A
 3V7_WL_SW_V volt(8)=4.00000000V
   VDD_CORE_V volt(15)=0.80000000V
      EXT5V_V volt(24)=5.10000000V
"""


class FakeNvml:
    """Counts up by 2,000 mJ and 500 mJ at each reading."""

    class NVMLError(Exception):
        """As in pynvml."""

    def __init__(self, devices: int = 2) -> None:
        self.devices = devices
        self.readings = [0, 0]
        self.lost = False

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return self.devices

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, device: int) -> int:
        if self.lost:
            raise self.NVMLError("GPU is lost")
        self.readings[device] += 1
        return 10_000 + self.readings[device] * (2000, 500)[device]


def test_a_boards_whole_input_is_integrated_and_its_parts_are_not(tmp_path: Path) -> None:
    clock = Clock()
    rails = {"VDD_IN": (5000, 2000), "VDD_CPU_GPU_CV": (5000, 900)}
    folder = write_ina3221(tmp_path, rails)
    meter = Ina3221Meter(tmp_path, clock)
    clock.now_s += 2.0
    assert meter.read_joules() == {"VDD_IN": 20.0}
    (folder / "curr1_input").write_text("4000")
    clock.now_s += 1.0
    assert meter.read_joules() == {"VDD_IN": 35.0}  # from 10 to 20 W within a second


def test_rails_without_a_whole_are_all_counted(tmp_path: Path) -> None:
    clock = Clock()
    write_ina3221(tmp_path, {"VDD_SOC": (5000, 200), "VDD_CPU": (5000, 400)})
    meter = Ina3221Meter(tmp_path, clock)
    clock.now_s += 1.0
    assert meter.read_joules() == {"VDD_SOC": 1.0, "VDD_CPU": 2.0}


def test_each_gpu_counts_from_when_the_meter_was_made() -> None:
    meter = NvmlMeter(FakeNvml())
    assert meter.read_joules() == {"gpu-0": 2.0, "gpu-1": 0.5}
    assert meter.read_joules() == {"gpu-0": 4.0, "gpu-1": 1.0}


def test_a_lost_gpu_and_none_at_all_are_failures() -> None:
    library = FakeNvml()
    meter = NvmlMeter(library)
    library.lost = True
    with pytest.raises(MeterFailed, match="GPU is lost"):
        meter.read_joules()
    with pytest.raises(MeterFailed, match="no GPU"):
        NvmlMeter(FakeNvml(devices=0))


def write_vcgencmd(folder: Path, body: str) -> None:
    program = folder / "vcgencmd"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def test_the_power_chip_is_asked_by_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "text").write_text(PMIC)
    write_vcgencmd(tmp_path, f'test "$1" = pmic_read_adc && cat {tmp_path}/text')
    clock = Clock()
    meter = PmicMeter(clock)
    clock.now_s += 10.0
    assert meter.read_joules() == {"board": pytest.approx(20.0)}  # 0.1 A * 4 V + 2 A * 0.8 V
    write_vcgencmd(tmp_path, "echo 'Command not registered'")
    clock.now_s += 0.5 * MAX_READING_AGE_S
    assert meter.read_joules() == {"board": pytest.approx(21.0)}  # not asked again so soon
    clock.now_s += MAX_READING_AGE_S
    with pytest.raises(MeterFailed, match="only the Raspberry Pi 5"):
        meter.read_joules()


def test_rails_with_volts_alone_have_no_watts() -> None:
    assert parse_watts(PMIC) == pytest.approx(2.0)
    with pytest.raises(MeterFailed):
        parse_watts("EXT5V_V volt(24)=5.1V")


def test_the_model_is_linear_in_busy_core_seconds(tmp_path: Path) -> None:
    clock = Clock()
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 9000 50 0 0 77 0 0\ncpu0 1 1\n")
    watts = Watts(idle_w=5.0, busy_core_w=4.0, dram_w=1.0)
    meter = ModelMeter(watts, partial(read_busy_s, stat), clock)
    clock.now_s += 10.0
    stat.write_text("cpu  400 0 200 9000 990 50 50 99 0 0\ncpu0 1 1\n")
    assert meter.read_joules() == {"cpu": pytest.approx(50.0 + 4.0 * 5.0), "dram": 10.0}


def test_a_recorded_day_is_gone_through_again_and_then_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text("time_s,package-0\n100,7\n102,11\n103,21\n")
    clock = Clock()
    meter = ReplayMeter(path, clock)
    for passed_s, joules in ((0.0, 0.0), (1.0, 2.0), (2.5, 9.0), (9.0, 14.0)):
        clock.now_s = 100.0 + passed_s
        assert meter.read_joules() == {"package-0": pytest.approx(joules)}


@pytest.mark.parametrize(
    "text", ["", "time_s\n1\n", "a,b\n1,2\n", "time_s,j\n1,x\n", "time_s,j\n1,5\n2,4\n", "\0"]
)
def test_a_file_that_is_no_record_is_a_failure(tmp_path: Path, text: str) -> None:
    path = tmp_path / "day.csv"
    path.write_text(text)
    with pytest.raises(MeterFailed, match=r"day\.csv"):
        ReplayMeter(path)


def test_all_kinds_are_found_or_say_why_not(tmp_path: Path) -> None:
    write_rapl(tmp_path, {"intel-rapl:0": "package-0"})
    found = {one.source: one for one in find_meters(tmp_path)}
    assert found["rapl"].meter is not None
    assert found["ina3221"].meter is None and "Jetson" in found["ina3221"].why_not
    assert all(one.meter is not None or one.why_not for one in found.values())
