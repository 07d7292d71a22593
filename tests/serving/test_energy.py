"""What energy settings open, what carbon they make of joules, and which CPU times are ours."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.services.fake_rapl import write_rapl
from harness.waiting import wait_until
from monitoring.metrics.collector import Metrics
from monitoring.metrics.switched_off import NoMetrics
from serving.energy import carbon_grams, open_sampler, read_process_s
from serving.settings import EnergySettings, ModelSettings
from tests.monitoring.energy.fake_sys import write_proc


def no_device() -> float:
    return 0.0


def test_the_first_meter_that_can_be_read_is_used_and_the_model_stands_in(tmp_path: Path) -> None:
    write_rapl(tmp_path, {"intel-rapl:0": "package-0"})
    metrics = Metrics()
    model = ModelSettings(idle_w=5.0, busy_core_w=4.0)
    assert open_sampler(EnergySettings(sysfs=tmp_path, model=model), metrics, no_device)
    assert metrics.energy.source == "rapl"


def test_without_a_meter_the_model_needs_no_watts_and_those_given_win(tmp_path: Path) -> None:
    proc = write_proc(tmp_path, name="AMD EPYC 7763 64-Core Processor", cpus=4)
    for source in ("auto", "model"):
        metrics = Metrics()
        settings = EnergySettings.model_validate({"source": source, "sysfs": tmp_path})
        assert open_sampler(settings, metrics, no_device, proc=proc)
        assert metrics.energy.source == "model"
        a_core_w = 0.9 * 280 / 128  # from 12 % of a thread's share when idle to 102 %
        assert metrics.energy.estimate_mj(1.0) == pytest.approx(1e3 * a_core_w)
    model = ModelSettings(idle_w=5.0, busy_core_w=4.0)
    assert open_sampler(EnergySettings(sysfs=tmp_path, model=model), metrics, no_device, proc=proc)
    assert metrics.energy.estimate_mj(1.0) == 4000.0


def test_one_line_says_that_values_are_estimates_and_on_what_basis(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proc = write_proc(tmp_path)
    settings = EnergySettings(sysfs=tmp_path)
    with caplog.at_level("INFO", "sparing.energy"):
        for worker in (1, 2):  # the first of several says it for all
            open_sampler(settings, Metrics(), no_device, worker, proc=proc)
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("Energy values are estimates, not measurements: 0.92 W idle to 3.92 W")
    assert "(3.92 to 7.84 W)" in line and "AMD EPYC, 3rd generation" in line and "https://" in line


def test_a_container_with_a_quota_is_estimated_by_itself(tmp_path: Path) -> None:
    proc = write_proc(tmp_path, cpus=64)
    (proc / "self").mkdir()
    (proc / "self" / "cgroup").write_text("0::/\n")
    group = tmp_path / "fs" / "cgroup"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("150000 100000\n")
    (group / "cpu.stat").write_text("usage_usec 1000000\nuser_usec 1\n")
    sampler = open_sampler(EnergySettings(sysfs=tmp_path), Metrics(), no_device, proc=proc)
    assert sampler is not None
    (group / "cpu.stat").write_text("usage_usec 3000000\nuser_usec 1\n")
    asyncio.run(sampler.sample())
    accounts = sampler.ledgers["model"].ledger.accounts
    assert accounts["others"] == pytest.approx(2.0 * 1.5, rel=0.1)  # 1.5 W above idle, for 2 s
    assert accounts["idle"] < 1.0  # of one and a half CPUs, not of 64


def test_a_source_that_was_asked_for_by_name_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"energy\.source: rapl: .*no energy counters"):
        open_sampler(EnergySettings(source="rapl", sysfs=tmp_path), Metrics(), no_device)


def test_a_machine_that_tells_no_cpu_time_counts_nothing(tmp_path: Path) -> None:
    metrics = Metrics()
    settings = EnergySettings(sysfs=tmp_path)
    assert open_sampler(settings, metrics, no_device, proc=tmp_path) is None
    assert metrics.energy.estimate_mj(1.0) is None


def test_none_reads_nothing() -> None:
    assert open_sampler(EnergySettings(source="none"), Metrics(), no_device) is None


def test_replies_have_their_joules_with_metrics_switched_off_too(tmp_path: Path) -> None:
    metrics = NoMetrics()
    route = metrics.add_route("a", ["one"])
    settings = EnergySettings(sysfs=tmp_path, model=ModelSettings(busy_core_w=4.0))
    sampler = open_sampler(settings, metrics, no_device, proc=write_proc(tmp_path))
    assert sampler is not None
    asyncio.run(sampler.sample())
    assert (route.energy.source, route.energy.estimate_mj(1.0)) == ("model", 4000.0)


def test_grams_are_energy_times_intensity_and_the_hardwares_share() -> None:
    counts: dict[str, dict[tuple[str, ...], float]] = {
        "energy_joules": {("a", "light", "rapl"): 3.6e6, ("a", "large", "rapl"): 3.6e6},
        "energy_account_joules": {("rows", "rapl"): 7.2e6, ("idle", "rapl"): 1.8e6,
                                  ("others", "rapl"): 9e9},
    }  # fmt: skip
    settings = EnergySettings(carbon_grams_per_kwh=100.0, embodied_grams_per_hour=36.0)
    per_core_s = 0.01 / (os.cpu_count() or 1)
    grams = carbon_grams(counts, {("a", "light"): 100.0}, 50.0, settings)
    assert grams == {
        ("",): pytest.approx(50.0 + 50 * per_core_s),
        ("a",): pytest.approx(200.0 + 100 * per_core_s),
    }


def test_the_cpu_time_of_another_process_is_read() -> None:
    code = "import sys, time\nwhile time.process_time() < 0.5: pass\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        wait_until(lambda: read_process_s(child.pid) >= 0.4, "it takes no CPU time")
        assert read_process_s(child.pid) < 2.0
        child.communicate()
    assert read_process_s(child.pid) == 0.0
