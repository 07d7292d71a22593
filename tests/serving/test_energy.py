"""What energy settings open, what carbon they make of joules, and which CPU times are ours."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.fake_rapl import write_rapl
from monitoring.metrics import Metrics
from monitoring.no_metrics import NoMetrics
from serving.energy import open_sampler, read_process_s, weigh
from serving.settings import EnergySettings, ModelSettings


def no_device() -> float:
    return 0.0


def test_the_first_meter_that_can_be_read_is_used_and_the_model_stands_in(tmp_path: Path) -> None:
    write_rapl(tmp_path, {"intel-rapl:0": "package-0"})
    metrics = Metrics()
    model = ModelSettings(idle_w=5.0, busy_core_w=4.0)
    assert open_sampler(EnergySettings(sysfs=tmp_path, model=model), metrics, no_device)
    assert metrics.energy.source == "rapl"


def test_without_a_meter_the_model_needs_watts_that_were_set(tmp_path: Path) -> None:
    metrics = Metrics()
    assert open_sampler(EnergySettings(sysfs=tmp_path), metrics, no_device) is None
    model = ModelSettings(idle_w=5.0, busy_core_w=4.0)
    assert open_sampler(EnergySettings(sysfs=tmp_path, model=model), metrics, no_device)
    assert metrics.energy.source == "model"


def test_a_source_that_was_asked_for_by_name_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"energy\.source: rapl: .*no energy counters"):
        open_sampler(EnergySettings(source="rapl", sysfs=tmp_path), Metrics(), no_device)
    with pytest.raises(ValueError, match="needed for source = 'model'"):
        EnergySettings(source="model")


def test_none_and_metrics_switched_off_read_nothing(tmp_path: Path) -> None:
    write_rapl(tmp_path, {"intel-rapl:0": "package-0"})
    assert open_sampler(EnergySettings(source="none"), Metrics(), no_device) is None
    assert open_sampler(EnergySettings(sysfs=tmp_path), NoMetrics(), no_device) is None


def test_grams_are_energy_times_intensity_and_the_hardwares_share() -> None:
    counts: dict[str, dict[tuple[str, ...], float]] = {
        "energy_joules": {("a", "light", "rapl"): 3.6e6, ("a", "large", "rapl"): 3.6e6},
        "energy_account_joules": {("rows", "rapl"): 7.2e6, ("idle", "rapl"): 1.8e6,
                                  ("others", "rapl"): 9e9},
    }  # fmt: skip
    settings = EnergySettings(carbon_grams_per_kwh=100.0, embodied_grams_per_hour=36.0)
    per_core_s = 0.01 / (os.cpu_count() or 1)
    grams = weigh(counts, {("a", "light"): 100.0}, 50.0, settings)
    assert grams == {
        ("",): pytest.approx(50.0 + 50 * per_core_s),
        ("a",): pytest.approx(200.0 + 100 * per_core_s),
    }


def test_the_cpu_time_of_another_process_is_read() -> None:
    code = "import sys, time\nwhile time.process_time() < 0.5: pass\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        deadline = time.monotonic() + 20.0
        while read_process_s(child.pid) < 0.4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 0.4 <= read_process_s(child.pid) < 2.0
        child.communicate()
    assert read_process_s(child.pid) == 0.0
