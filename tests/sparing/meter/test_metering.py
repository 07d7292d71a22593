"""`sparing meter`: what is found is shown, and the model's watts are fitted to loads really run."""

import io
import os
import tomllib
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from harness.services.fake_rapl import FakeRapl
from monitoring.energy.meters.rapl import RaplMeter
from serving.settings import ModelSettings
from sparing.cli import app
from sparing.failure import Failure
from sparing.meter.metering import Point, fit, measure, meter_power, typed_power

QUIET = Console(quiet=True)


def test_the_table_says_what_is_there_and_why_the_rest_is_not(tmp_path: Path) -> None:
    with FakeRapl(tmp_path, 10.0, 5.0):
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["meter", "--sysfs", str(tmp_path)])
    assert done.exit_code == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "package-0" in lines["rapl"] and "µs" in lines["rapl"]
    assert "Jetson" in lines["ina3221"]
    assert "not a measurement" in lines["model"] and "https://" in done.stdout


def test_a_line_through_exact_points_is_found() -> None:
    found = fit([Point(0.0, 7.0), Point(1.0, 11.0), Point(4.0, 23.0)])
    assert found.idle_w == pytest.approx(7.0)
    assert found.busy_core_w == pytest.approx(4.0)
    assert "at most 0.00 W" in found.note
    assert "busy_core_w = 4.00" in found.as_toml()


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([Point(1.9, 7.0), Point(2.0, 7.1)], "did not differ"),
        ([Point(0.0, 9.0), Point(2.0, 5.0)], "cannot be"),
    ],
)
def test_loads_that_tell_nothing_are_refused(points: list[Point], why: str) -> None:
    with pytest.raises(Failure, match=why):
        fit(points)


@pytest.mark.slow
def test_a_busy_core_is_seen() -> None:
    asked = []

    def request_json(load: int, seconds: float) -> float:
        import time

        asked.append((load, seconds))
        time.sleep(seconds)
        return 12.5

    point = measure(1, request_json, 0.5)
    assert asked == [(1, 0.5)] and point.power_w == 12.5
    assert point.busy_cores > 0.7


def test_a_meter_tells_its_mean_power(tmp_path: Path) -> None:
    with FakeRapl(tmp_path, idle_w=40.0, busy_core_w=0.0):
        assert meter_power(RaplMeter(tmp_path))(0, 0.5) == pytest.approx(40.0, rel=0.2)


def test_a_meter_that_is_not_there_cannot_calibrate(tmp_path: Path) -> None:
    command = ["meter", "calibrate", "--by", "rapl", "--sysfs", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, Failure) and "no energy counters" in str(done.exception)


def calibrate(*options: str) -> Result:
    """Without a terminal, as scripts do."""
    return CliRunner().invoke(app, ["meter", "calibrate", *options])


def test_without_a_terminal_and_a_meter_the_table_is_assumed_and_said_so(tmp_path: Path) -> None:
    done = calibrate("--sysfs", str(tmp_path))
    assert done.exit_code == 0
    assert done.stdout.startswith("# Not measured, assumed: ")
    model = tomllib.loads(done.stdout)["energy"]["model"]
    assert model["busy_core_w"] > 0.0 and ModelSettings.model_validate(model)


def test_what_a_plug_showed_may_be_given_instead_of_typed() -> None:
    done = calibrate("--idle-watts", "20", "--busy-watts", "60")
    model = tomllib.loads(done.stdout)["energy"]["model"]
    assert model["idle_w"] == 20.0
    assert model["busy_core_w"] == pytest.approx(40 / (os.cpu_count() or 1), abs=0.01)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--by", "plug"], "no terminal"),
        (["--by", "magic"], "allowed are auto"),
        (["--idle-watts", "20"], "give both"),
        (["--idle-watts", "20", "--busy-watts", "20"], "more than --idle-watts 20"),
        (["--idle-watts", "20", "--busy-watts", "inf"], "given inf"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(options: list[str], why: str) -> None:
    done = calibrate(*options)
    assert isinstance(done.exception, Failure) and why in str(done.exception)


def test_a_plug_whose_reader_hangs_up_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(Failure, match="no watts were typed"):
        typed_power(QUIET)(0, 0.0)
