"""Whether every joule is entered once and in the right account, by a counter with known sums."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.energy.reading import Reading, load, loaded, make_case, read_energy
from benchmarks.serving.cases import Case
from harness.load.traffic import Pictures
from harness.process_tree import read_cpu_s
from harness.results import Sample
from harness.servers import Server, run_sparing
from harness.services.fake_rapl import FakeRapl

CASCADE, LARGE = "fashion-mnist", "fashion-mnist-large"
IDLE_W, BUSY_CORE_W = 10.0, 5.0
TURNS = 5
SETTLE_S = 0.3  # some readings


def measure_truth(
    served: Path, pictures: Pictures, work: Path, seconds: float, console: Console
) -> Iterator[Sample]:
    """Conservation, a kill, a busy neighbour, and two routes together."""
    with FakeRapl(work / "sys", IDLE_W, BUSY_CORE_W) as meter:
        settings = work / "fake.toml"
        settings.write_text(
            f'[cache]\nenabled = false\n[energy]\nsysfs = "{meter.root}"\nidle_w = {IDLE_W}\n'
        )
        both = [
            make_case("cascade", CASCADE, pictures, 8),
            make_case("large", LARGE, pictures, 4),
        ]
        for case, metrics in (
            ("mixed load", _conserve(served, settings, work, both, meter, seconds)),
            ("kill and restart", _kill(served, settings, work, both, meter, seconds / 2)),
            ("busy neighbour", _neighbour(served, settings, work, both[:1], seconds / 3)),
            ("two routes", _attribute(served, settings, work, both, seconds / 3)),
        ):
            console.print(f"{case}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
            yield from (Sample(case, 0, name, value) for name, value in metrics.items())


def _conserve(
    served: Path, settings: Path, work: Path, cases: list[Case], meter: FakeRapl, seconds: float
) -> dict[str, float]:
    with run_sparing(served, settings) as server:
        time.sleep(SETTLE_S)
        before, truth_j = read_energy(server), meter.joules()
        load(server, cases, work, seconds)
        time.sleep(SETTLE_S)
        after, truth_j = read_energy(server), meter.joules() - truth_j
    found = after.since(before)
    accounts_j = sum(found.accounts.values())
    return {
        "accounts_of_meter": accounts_j / found.meter_j,
        "meter_of_truth": found.meter_j / truth_j,
        "rows_of_account": sum(after.rows_j.values()) / after.accounts["rows"],
        **{f"{name}_share": joules / accounts_j for name, joules in found.accounts.items()},
    }


def _kill(
    served: Path, settings: Path, work: Path, cases: list[Case], meter: FakeRapl, seconds: float
) -> dict[str, float]:
    """Two lives under load, the first one killed; scraped four times a second."""
    accounted_j = truth_j = 0.0
    for life in range(2):
        with run_sparing(served, settings) as server:
            time.sleep(SETTLE_S)
            first, began_j = read_energy(server), meter.joules()
            last = first
            with loaded(server, cases, work, seconds):
                ends = time.monotonic() + seconds - 1.0
                while time.monotonic() < ends:
                    time.sleep(0.25)
                    last = read_energy(server)
                ended_j = meter.joules()
                if life == 0:
                    os.kill(server.pid, signal.SIGKILL)
            accounted_j += sum(last.since(first).accounts.values())
            truth_j += ended_j - began_j
    return {"accounts_of_truth": accounted_j / truth_j}


def _neighbour(
    served: Path, settings: Path, work: Path, cases: list[Case], seconds: float
) -> dict[str, float]:
    """How much of a busy neighbour's joules this server is billed: what it is billed beyond its own
    CPU time, over what the neighbour took.
    """
    with run_sparing(served, settings) as server:
        code = "while True: pass"
        with subprocess.Popen([sys.executable, "-c", code]) as neighbour:
            try:
                time.sleep(SETTLE_S)
                before = read_energy(server)
                own_s, other_s = read_cpu_s(server.pid), read_cpu_s(neighbour.pid)
                load(server, cases, work, seconds)
                time.sleep(SETTLE_S)
                found = read_energy(server).since(before)
                own_s = read_cpu_s(server.pid) - own_s
                other_s = read_cpu_s(neighbour.pid) - other_s
            finally:
                neighbour.kill()
    billed_j = found.accounts["rows"] + found.accounts["overhead"]
    return {
        "billed_of_neighbour": (billed_j - BUSY_CORE_W * own_s) / (BUSY_CORE_W * other_s),
        "neighbour_j": BUSY_CORE_W * other_s,
        "billed_j": billed_j,
    }


def _attribute(
    served: Path, settings: Path, work: Path, cases: list[Case], seconds: float
) -> dict[str, float]:
    """A route's share of the joules of both together, over what it should be by each one's joules
    a row alone. In turns, so that a slow spell of the machine falls on all alike.
    """
    joules, rows = defaultdict[str, float](float), defaultdict[str, float](float)
    together_j, together_rows = defaultdict[str, float](float), defaultdict[str, float](float)
    with run_sparing(served, settings) as server:
        for _ in range(TURNS):
            for case, route in zip(cases, (CASCADE, LARGE), strict=True):
                found = _ask(server, [case], work, seconds / TURNS)
                joules[route] += found.rows_j[route]
                rows[route] += found.rows[route]
            found = _ask(server, cases, work, seconds / TURNS)
            for route in (CASCADE, LARGE):
                together_j[route] += found.rows_j[route]
                together_rows[route] += found.rows[route]
    alone = {route: joules[route] / rows[route] for route in joules}
    expected = {route: alone[route] * together_rows[route] for route in alone}
    share = together_j[CASCADE] / sum(together_j.values())
    right = expected[CASCADE] / sum(expected.values())
    return {
        "cascade_share_of_right": share / right,
        "large_share_of_right": (1 - share) / (1 - right),
        "cascade_mj": alone[CASCADE] * 1e3,
        "large_mj": alone[LARGE] * 1e3,
    }


def _ask(server: Server, cases: list[Case], work: Path, seconds: float) -> Reading:
    time.sleep(SETTLE_S)
    before = read_energy(server)
    load(server, cases, work, seconds)
    time.sleep(SETTLE_S)
    return read_energy(server).since(before)
