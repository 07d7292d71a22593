"""`make demo`: pages with data, the report beside them, units, and an end by Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.units import choose_prefix, read_unit, show
from harness.live_server import ROOT

GENERATION = (
    "Time to first token",
    "Time per token",
    "Tokens",
    "Visual tokens kept",
    "Prefill and decode",
    "Power of prefill and decode",
    "Energy per token",
    "Length",
)


LIMIT_S = 300.0  # only a demo that hangs comes near it


@contextmanager
def running_demo(*options: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the demo in a session of its own, of which nothing is left in the end."""
    command = [sys.executable, "-m", "demo.run", *options]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            yield running
        except BaseException:
            os.killpg(running.pid, signal.SIGKILL)
            raise


@pytest.mark.slow
def test_the_demo_leaves_its_pages(tmp_path: Path) -> None:
    with running_demo("--once", "--seconds", "12", "--out", str(tmp_path)) as running:
        told, _ = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 0, told
    assert "4,000 requests answered" in told
    printed = " ".join(told.split())
    found = re.search(r"(\d+) of (\d+) panels have data", printed)
    assert found is not None
    empty = set(printed.rpartition("without data: ")[2].split("; "))
    assert int(found[2]) - int(found[1]) == len(empty)
    # None of the demo's routes answers in tokens.
    assert empty - {"Sparing: Fleet, Failed requests"} == {
        f"Sparing: Route, {title}" for title in GENERATION
    }
    start = (tmp_path / "index.html").read_text()
    for page in ("dashboards.html", "report.html"):
        assert f'href="{page}"' in start
        assert (tmp_path / page).exists()
    dashboards = (tmp_path / "dashboards.html").read_text()
    words = re.sub("<svg.*?</svg>", "", dashboards, flags=re.DOTALL)
    assert re.findall(r"\de[+-]\d\d|\b[0-9a-f]{64}\b", words) == []
    (reported,) = re.findall(r"This saved ([\d.]+)% of the compute", printed)
    (shown,) = re.findall(
        r"<h3>Compute saved</h3><div><span class=big>([\d.]+) %", dashboards.split("<h2>")[1]
    )
    assert abs(float(reported) - float(shown)) < 1.0


@pytest.mark.slow
def test_the_demo_runs_until_it_is_interrupted(tmp_path: Path) -> None:
    with running_demo("--seconds", "600", "--out", str(tmp_path)) as running:
        assert running.stdout is not None
        assert any("replaying" in line for line in running.stdout)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does it
        assert "stopped" in running.stdout.read()
        assert running.wait(LIMIT_S) == 0
    assert "Console" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0009211, "joule", "921 µJ"),
        (3.564e6, "si: MAC", "3.56 MMACs"),
        (0.685, "percentunit", "68.5 %"),
        (0.0025, "s", "2.5 ms"),
        (1234.0, "reqps", "1,234 requests/s"),
        (0.0, "watt", "0 W"),
        (12.5, "suffix: g/h", "12.5 g/h"),
    ],
)
def test_numbers_have_units_that_people_read(value: float, unit: str, text: str) -> None:
    assert show(value, read_unit(unit)) == text


def test_the_numbers_of_a_plot_have_one_unit() -> None:
    times, name = choose_prefix([0.0001, 0.0042], read_unit("joule"))
    assert (round(times * 0.0042, 6), name) == (4.2, "mJ")
