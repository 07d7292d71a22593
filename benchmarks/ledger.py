"""Whether every joule is entered once and in the right account, by a counter with known sums."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.serving.cases import CASCADE, LARGE, Case
from benchmarks.serving.measure import run_load
from harness.load.traffic import Pictures, Traffic, pack_binary
from harness.process_tree import read_cpu_s
from harness.results import Sample
from harness.servers import Server, count_spent, read_counters, run_sparing
from harness.services.fake_rapl import FakeRapl

Truth = Callable[[], float]
IDLE_W, BUSY_CORE_W = 10.0, 5.0
TURNS = 5
SETTLE_S = 0.3  # some readings
ACCOUNTS = ("rows", "overhead", "others", "idle")
COUNTERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    **{one: ("sparing_energy_account_joules_total", {"account": one}) for one in ACCOUNTS},
    "meter": ("sparing_energy_meter_joules_total", {}),
    "routes": ("sparing_energy_joules_total", {}),
    "pictures": ("sparing_rows_total", {}),
    **{f"{route} joules": ("sparing_energy_joules_total", {"route": route})
       for route in (CASCADE, LARGE)},
    **{f"{route} rows": ("sparing_rows_total", {"route": route}) for route in (CASCADE, LARGE)},
}  # fmt: skip


def make_case(name: str, route: str, pictures: Pictures, connections: int) -> Case:
    """Infer requests of these pictures, any answer."""
    bodies, headers = pack_binary(pictures)
    traffic = Traffic(bodies, [b""] * len(bodies))
    return Case(name, "", connections, traffic, f"/v2/models/{route}/infer", headers)


def ask(
    server: Server, cases: Sequence[Case], work: Path, seconds: float, truth: Truth = float
) -> dict[str, float]:
    """What the cases, all at once, cost, and by how much the `truth` grew meanwhile. RuntimeError
    where an answer was an error.
    """
    time.sleep(SETTLE_S)
    with count_spent(server, COUNTERS) as spent:
        before = truth()
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda case: run_load(case, server, work, seconds), cases))
        time.sleep(SETTLE_S)
        spent["truth"] = truth() - before
    if faults := sum(one["errors"] + one["wrong"] for one in done):
        raise RuntimeError(f"{faults} answers were errors under the energy benchmark's load")
    return spent


def add_accounts(joules: Mapping[str, float]) -> float:
    return sum(joules[account] for account in ACCOUNTS)


@dataclass(frozen=True, slots=True)
class Trial:
    """Routes, settings and meter of the servers, and the loads of the cascade and the large net."""

    served: Path
    settings: Path
    work: Path
    meter: FakeRapl
    cases: Sequence[Case]

    def conserve(self, seconds: float) -> dict[str, float]:
        with run_sparing(self.served, self.settings) as server:
            found = ask(server, self.cases, self.work, seconds, self.meter.joules)
            ever = read_counters(server, COUNTERS)
        return {
            "accounts_of_meter": add_accounts(found) / found["meter"],
            "meter_of_truth": found["meter"] / found["truth"],
            "rows_of_account": ever["routes"] / ever["rows"],
            **{f"{name}_share": found[name] / add_accounts(found) for name in ACCOUNTS},
        }

    def kill(self, seconds: float) -> dict[str, float]:
        """Two lives under load, the first one killed; scraped four times a second."""
        accounted_j = truth_j = 0.0
        for life in range(2):
            with run_sparing(self.served, self.settings) as server, ThreadPoolExecutor() as pool:
                time.sleep(SETTLE_S)
                first_j = last_j = add_accounts(read_counters(server, COUNTERS))
                began_j, ends = self.meter.joules(), time.monotonic() + seconds - 1.0
                for case in self.cases:
                    pool.submit(run_load, case, server, self.work, seconds)
                while time.monotonic() < ends:
                    time.sleep(0.25)
                    last_j = add_accounts(read_counters(server, COUNTERS))
                truth_j += self.meter.joules() - began_j
                accounted_j += last_j - first_j
                if life == 0:
                    os.kill(server.pid, signal.SIGKILL)
        return {"accounts_of_truth": accounted_j / truth_j}

    def bill_neighbour(self, seconds: float) -> dict[str, float]:
        """How much of a busy neighbour's joules this server is billed: what it is billed beyond its
        own CPU time, over what the neighbour took.
        """
        with run_sparing(self.served, self.settings) as server:
            code = "while True: pass"
            with subprocess.Popen([sys.executable, "-c", code]) as neighbour:
                try:
                    found = ask(server, self.cases[:1], self.work, seconds,
                                lambda: read_cpu_s(neighbour.pid))  # fmt: skip
                finally:
                    neighbour.kill()
        billed_j = found["rows"] + found["overhead"]
        own_j, other_j = BUSY_CORE_W * found["cpu_s"], BUSY_CORE_W * found["truth"]
        return {
            "billed_of_neighbour": (billed_j - own_j) / other_j,
            "neighbour_j": other_j,
            "billed_j": billed_j,
        }

    def attribute(self, seconds: float) -> dict[str, float]:
        """A route's share of the joules of both together, over what it should be by each one's
        joules a row alone. In turns, so that a slow spell of the machine falls on all alike.
        """
        alone, together = Counter[str](), Counter[str]()
        with run_sparing(self.served, self.settings) as server:
            for _ in range(TURNS):
                for case in self.cases:
                    alone.update(ask(server, [case], self.work, seconds / TURNS))
                together.update(ask(server, self.cases, self.work, seconds / TURNS))
        mj, expected = dict[str, float](), dict[str, float]()
        for route in (CASCADE, LARGE):
            mj[route] = 1e3 * alone[f"{route} joules"] / alone[f"{route} rows"]
            expected[route] = mj[route] * together[f"{route} rows"]
        share = together[f"{CASCADE} joules"] / together["routes"]
        right = expected[CASCADE] / sum(expected.values())
        return {
            "cascade_share_of_right": share / right,
            "large_share_of_right": (1 - share) / (1 - right),
            "cascade_mj": mj[CASCADE],
            "large_mj": mj[LARGE],
        }


def measure_truth(
    served: Path, pictures: Pictures, work: Path, seconds: float, console: Console
) -> Iterator[Sample]:
    """Conservation, a kill, a busy neighbour, and two routes together."""
    cases = [make_case("cascade", CASCADE, pictures, 8), make_case("large", LARGE, pictures, 4)]
    with FakeRapl(work / "sys", IDLE_W, BUSY_CORE_W) as meter:
        settings = work / "fake.toml"
        settings.write_text(
            f'[cache]\nenabled = false\n[energy]\nsysfs = "{meter.root}"\nidle_w = {IDLE_W}\n'
        )
        trial = Trial(served, settings, work, meter, cases)
        for case, measure, share in (
            ("mixed load", trial.conserve, 1),
            ("kill and restart", trial.kill, 1 / 2),
            ("busy neighbour", trial.bill_neighbour, 1 / 3),
            ("two routes", trial.attribute, 1 / 3),
        ):
            metrics = measure(seconds * share)
            console.print(f"{case}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
            yield from (Sample(case, 0, name, value) for name, value in metrics.items())
